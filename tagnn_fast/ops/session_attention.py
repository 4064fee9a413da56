"""Self-attention among the nodes of each session (TAGNN++, section 3.3; Vaswani et al., section 3.2)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast import reference
from tagnn_fast.ops.session_graph import SessionGraph


def session_attention(
    qkv: Tensor,
    graph: SessionGraph,
    heads: int,
    causal: bool = True,
    dropout: float = 0.0,
    seed: Optional[Tensor] = None,
) -> Tensor:
    """softmax(Q Kᵀ / √width) V inside each session and head, nodes in slot order.

    Args:
        qkv: queries, keys and values side by side, float (slots, 3 hidden), each cut into heads of hidden / heads.
        graph: the sessions' graphs.
        heads: number of heads, a divisor of hidden.
        causal: whether a node attends only to itself and the nodes before it.
        dropout: rate at which attention weights are dropped, in [0, 1).
        seed: seed of the dropout mask, int64 (1,); a seed gives the same mask on every device. Needed where dropout > 0.

    Returns:
        float (slots, hidden); zeros in empty slots.

    Raises:
        RuntimeError: on a wrong shape, dtype or device, a rate outside [0, 1) or a missing seed.
    """
    if torch.jit.is_scripting() or not qkv.is_cuda:
        return torch.ops.tagnn_fast.session_attention(  # type: ignore[no-any-return]
            qkv, graph.slot_offsets, graph.num_nodes, heads, causal, dropout, seed
        )
    return reference.session_attention(qkv, graph, heads, causal, dropout, seed)


@torch.library.register_fake("tagnn_fast::session_attention")
def _(qkv: Tensor, *rest: Any, **options: Any) -> Tensor:
    return qkv.new_empty((qkv.shape[0], qkv.shape[1] // 3))


@torch.library.register_fake("tagnn_fast::session_attention_backward")
def _(grad: Tensor, qkv: Tensor, *rest: Any, **options: Any) -> Tensor:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, slot_offsets, num_nodes, heads, causal, dropout, seed = inputs
    ctx.save_for_backward(qkv, slot_offsets, num_nodes, seed)
    ctx.options = heads, causal, dropout


def _backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
    qkv, slot_offsets, num_nodes, seed = ctx.saved_tensors
    grad_qkv = torch.ops.tagnn_fast.session_attention_backward(grad, qkv, slot_offsets, num_nodes, *ctx.options, seed)
    return grad_qkv, None, None, None, None, None, None


torch.library.register_autograd("tagnn_fast::session_attention", _backward, setup_context=_setup_context)
torch.library.register_autocast("tagnn_fast::session_attention", "cpu", torch.float32)
