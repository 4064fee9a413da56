"""Self-attention among the nodes of each session (TAGNN++, section 3.3; Vaswani et al., section 3.2)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.autograd import register_gradient
from tagnn_fast.ops.graph import SessionGraph


def session_attention(
    nodes: Tensor,
    graph: SessionGraph,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm_weight: Optional[Tensor],
    norm_bias: Optional[Tensor],
    heads: int,
    causal: bool = True,
    dropout: float = 0.0,
    seed: Optional[Tensor] = None,
) -> Tensor:
    """MHA(nodes) + LayerNorm(nodes): multi-head self-attention inside each session and its residual, a layer norm.

    In each head, softmax(Q Kᵀ / √width) V; nodes stand in slot order.

    Args:
        nodes: node states, float (slots, hidden).
        graph: the sessions' graphs.
        qkv_weight: projections to queries, keys and values, one below the other, float (3 hidden, hidden).
        qkv_bias: their biases, float (3 hidden,).
        out_weight: projection of the heads' results side by side, float (hidden, hidden).
        out_bias: its bias, float (hidden,).
        norm_weight: the layer norm's weight, float (hidden,); None for attention without a residual.
        norm_bias: its bias, float (hidden,).
        heads: number of heads, a divisor of hidden.
        causal: whether a node attends only to itself and the nodes before it.
        dropout: rate at which attention weights are dropped, in [0, 1).
        seed: seed of the dropout mask, int64 (1,), the same on every device; needed where dropout > 0.

    Returns:
        float (slots, hidden); zeros in empty slots.

    Raises:
        RuntimeError: on a wrong shape, dtype or device, a rate outside [0, 1) or a missing seed.
    """
    parameters = qkv_weight, qkv_bias, out_weight, out_bias, norm_weight, norm_bias
    options = heads, causal, dropout, seed
    if not torch.jit.is_scripting():
        if not library.has_kernel(nodes):
            return reference.session_attention(nodes, graph, *parameters, *options)
        if not torch.compiler.is_compiling():
            return _eager(nodes, graph.slot_offsets, graph.num_nodes, *parameters, *options)[0]  # type: ignore[no-any-return]
    return torch.ops.tagnn_fast.session_attention(  # type: ignore[no-any-return]
        nodes, graph.slot_offsets, graph.num_nodes, *parameters, *options
    )[0]


@torch.library.register_fake("tagnn_fast::session_attention")
def _(nodes: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    return tuple(nodes.new_empty((slots, width)) for width in (hidden, hidden, 3 * hidden, hidden))


@torch.library.register_fake("tagnn_fast::session_attention_backward")
def _(grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = grad.shape
    shapes = ((slots, hidden), (3 * hidden, hidden), (3 * hidden,), (hidden, hidden), (hidden,), (hidden,), (hidden,))
    return tuple(grad.new_empty(shape) for shape in shapes)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, slot_offsets, num_nodes, qkv_weight, _, out_weight, _, norm_weight, _, heads, causal, dropout, seed = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.options = heads, causal, dropout
    ctx.save_for_backward(slot_offsets, num_nodes, qkv_weight, out_weight, norm_weight, seed, *output[1:])


def _backward(ctx: Any, grad: Optional[Tensor], *_: None) -> tuple[Optional[Tensor], ...]:
    if grad is None:
        return (None,) * 13
    *inputs, norm_weight, seed, rows, qkv, attended = ctx.saved_tensors
    nodes, *parameters = torch.ops.tagnn_fast.session_attention_backward(
        grad, *inputs, norm_weight, *ctx.options, seed, rows, qkv, attended
    )
    if norm_weight is None:
        parameters[-2:] = None, None
    return nodes, None, None, *parameters, None, None, None, None


_eager = register_gradient("session_attention", _setup_context, _backward)
