"""Scores of every item with attention that depends on the item (TAGNN, section 3.4).

The formula stands at :class:`EncodedSessions`. Nothing of size sessions x items is ever held but the scores themselves.

``torch.set_float32_matmul_precision`` and bfloat16 autocast choose the arithmetic of the products of float32 tensors,
on a GPU and on the CPU; sums, softmax and losses stay float32. On the CPU "high" takes each number as the sum of two
bfloat16 numbers and loses 2^-16 of it, "medium" as one and loses 2^-8. Their products take denormals for zeros, and
round sums in an order that depends on the processor: results are repeatable to the bit on processors of one kind. In
"high" a product with an infinity may be NaN. A single session of up to 7 nodes is scored in float32: nothing would be
faster.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.autograd import register_gradient
from tagnn_fast.ops.graph import EncodedSessions


def target_attention_scores(encoded: EncodedSessions, table: Tensor) -> Tensor:
    """Scores of all items.

    Args:
        encoded: the sessions.
        table: item vectors, float (items, hidden); may be bfloat16 beside float32 sessions, without gradient: its
            values are taken to float32, nothing else is rounded.

    Returns:
        float (sessions, items).

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    precision = 0
    if not torch.jit.is_scripting():
        if not library.has_kernel(encoded.session):
            return reference.target_attention_scores(encoded, table)
        precision = library.precision(encoded.session.device.type)
        if not torch.compiler.is_compiling():
            return _eager_scores(*encoded, table, precision)  # type: ignore[no-any-return]
    return torch.ops.tagnn_fast.target_attention_scores(*encoded, table, precision)  # type: ignore[no-any-return]


def target_attention_topk(
    encoded: EncodedSessions,
    table: Tensor,
    k: int,
    candidates: Optional[Tensor] = None,
    excluded: Optional[Tensor] = None,
    excluded_offsets: Optional[Tensor] = None,
    screen: Optional[Tensor] = None,
    repeat_rows: Optional[Tensor] = None,
    repeat_logits: Optional[Tensor] = None,
) -> tuple[Tensor, Tensor]:
    """The best k items of each session, best first, equal scores by row; without gradient.

    Args:
        encoded: the sessions.
        table: item vectors, float (items, hidden); bfloat16 as in :func:`target_attention_scores`.
        k: length of the lists.
        candidates: the only rows of `table` to choose from, int64 (any,), in any order; None for all.
        excluded: rows that a session must not get, session after session, int64 (any,); needs `excluded_offsets`.
        excluded_offsets: first of each session's and the end of the last, int64 (sessions + 1,).
        screen: what :func:`tagnn_fast.ops.item_screen` makes of `table`, of which it must be: most items are then ruled
            out by bounds, and the lists are the same to the bit. Only float32 sessions on the CPU make use of it.
        repeat_rows: rows of `table` to whose scores something is added, by native kernels on the CPU alone, each once
            for a session, int64 (sessions, any); -1 for none.
        repeat_logits: what is added, float (sessions, any).

    Returns:
        Scores, float, and rows, int64, both (sessions, k). Where fewer than k rows are left, the rest are -inf and -1.

    Raises:
        RuntimeError: on a wrong shape, dtype or device, and on a screen that is seen to be of another table.
    """
    session, keys, values, click_counts, padding, slot_offsets = encoded
    if torch.is_grad_enabled():
        session, keys, values, table = session.detach(), keys.detach(), values.detach(), table.detach()
        encoded = EncodedSessions(session, keys, values, click_counts, padding, slot_offsets)
        if repeat_logits is not None:
            repeat_logits = repeat_logits.detach()
    precision = 0
    if not torch.jit.is_scripting():
        if not library.has_kernel(session):
            if repeat_rows is not None:
                raise RuntimeError("repeat_rows: expected none without native kernels, got some")
            return reference.target_attention_topk(encoded, table, k, candidates, excluded, excluded_offsets)
        precision = library.precision(session.device.type)
    scores, rows = torch.ops.tagnn_fast.target_attention_topk(
        *encoded, table, k, candidates, excluded, excluded_offsets, precision, screen, repeat_rows, repeat_logits
    )
    return scores, rows


def target_attention_cross_entropy(encoded: EncodedSessions, table: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each session's scores over the whole catalogue against its target.

    Args:
        encoded: the sessions.
        table: item vectors, float (items, hidden).
        targets: row of `table` that follows each session, int64 (sessions,).

    Returns:
        float (sessions,); NaN for a target outside the table.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    precision = 0
    if not torch.jit.is_scripting():
        if not library.has_kernel(encoded.session):
            return reference.target_attention_cross_entropy(encoded, table, targets)
        precision = library.precision(encoded.session.device.type)
        if not torch.compiler.is_compiling():
            return _eager_cross_entropy(*encoded, table, targets, precision)[0]  # type: ignore[no-any-return]
    losses, _ = torch.ops.tagnn_fast.target_attention_cross_entropy(*encoded, table, targets, precision)
    return losses  # type: ignore[no-any-return]


@torch.library.register_fake("tagnn_fast::target_attention_scores")
def _(session: Tensor, keys: Tensor, values: Tensor, click_counts: Tensor, padding: Tensor, *rest: Any) -> Tensor:
    return session.new_empty((session.shape[0], rest[1].shape[0]))


@torch.library.register_fake("tagnn_fast::target_attention_topk")
def _(session: Tensor, keys: Tensor, values: Tensor, click_counts: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    shape = (session.shape[0], rest[3])
    return session.new_empty(shape), click_counts.new_empty(shape)


@torch.library.register_fake("tagnn_fast::target_attention_cross_entropy")
def _(session: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return session.new_empty((session.shape[0],)), session.new_empty((session.shape[0], 2))


@torch.library.register_fake("tagnn_fast::target_attention_scores_backward")
@torch.library.register_fake("tagnn_fast::target_attention_cross_entropy_backward")
def _(grad: Tensor, session: Tensor, keys: Tensor, values: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(value.new_empty(value.shape) for value in (session, keys, values, rest[3]))  # contiguous


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)
    *tensors, ctx.precision = inputs
    if isinstance(output, Tensor):
        ctx.save_for_backward(*tensors)
        return
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, output[1])


def _scores_backward(ctx: Any, grad: Optional[Tensor]) -> tuple[Optional[Tensor], ...]:
    if grad is None:
        return (None,) * 8
    gradients = torch.ops.tagnn_fast.target_attention_scores_backward(grad, *ctx.saved_tensors, ctx.precision)
    session, keys, values, table = gradients
    return session, keys, values, None, None, None, table, None


def _cross_entropy_backward(ctx: Any, grad: Optional[Tensor], _: None) -> tuple[Optional[Tensor], ...]:
    if grad is None:
        return (None,) * 9
    table, targets = ctx.saved_tensors[6:8]
    grad = torch.where((targets >= 0) & (targets < table.shape[0]), grad, 0.0)  # as of the NaN that its loss is
    gradients = torch.ops.tagnn_fast.target_attention_cross_entropy_backward(grad, *ctx.saved_tensors, ctx.precision)
    session, keys, values, table = gradients
    return session, keys, values, None, None, None, table, None, None


_eager_scores = register_gradient("target_attention_scores", _setup_context, _scores_backward)
_eager_cross_entropy = register_gradient("target_attention_cross_entropy", _setup_context, _cross_entropy_backward)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("tagnn_fast::target_attention_topk", _device, torch.float32)
