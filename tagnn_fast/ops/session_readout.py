"""Soft-attention readout: one vector per session (SR-GNN, equations 6-7; TAGNN, equation 9)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.autograd import register_gradient
from tagnn_fast.ops.graph import SessionGraph


def session_readout(
    nodes: Tensor,
    graph: SessionGraph,
    query_weight: Tensor,
    query_bias: Tensor,
    key_weight: Tensor,
    key_bias: Tensor,
    logit_weight: Tensor,
    normalize: bool = True,
) -> tuple[Tensor, Tensor]:
    """Sum of a session's click states h_p, weighted by α_p = w · σ(Q h_last + q + K h_p + k).

    Args:
        nodes: node states, float (slots, hidden); empty slots must be finite, as every op leaves them.
        graph: the sessions' graphs.
        query_weight: Q, of the last click's state, float (hidden, hidden).
        query_bias: q, float (hidden,).
        key_weight: K, of each click's state, float (hidden, hidden).
        key_bias: k, float (hidden,).
        logit_weight: w, float (hidden,).
        normalize: softmax of α over the session's positions, padded ones included (TAGNN), or α as it is (SR-GNN).

    Returns:
        The pooled vector and the state of the last click, each float (sessions, hidden); zeros for an empty session.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    of_graph = graph.click_counts, graph.slot_offsets, graph.num_nodes, graph.last_node, graph.padding
    parameters = query_weight, query_bias, key_weight, key_bias, logit_weight, normalize
    if not torch.jit.is_scripting():
        if not library.has_kernel(nodes):
            return reference.session_readout(nodes, graph, *parameters)
        if not torch.compiler.is_compiling():
            return _eager(nodes, *of_graph, *parameters)[:2]  # type: ignore[no-any-return]
    pooled, last_click, _, _ = torch.ops.tagnn_fast.session_readout(nodes, *of_graph, *parameters)
    return pooled, last_click


@torch.library.register_fake("tagnn_fast::session_readout")
def _(nodes: Tensor, click_counts: Tensor, slot_offsets: Tensor, num_nodes: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    sessions = num_nodes.shape[0]
    shapes = ((sessions, hidden), (sessions, hidden), (slots, hidden), (slots,))
    return tuple(nodes.new_empty(shape) for shape in shapes)


@torch.library.register_fake("tagnn_fast::session_readout_backward")
def _(grad_pooled: Tensor, grad_last_click: Tensor, nodes: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    shapes = ((slots, hidden), (hidden, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden,))
    return tuple(nodes.new_empty(shape) for shape in shapes)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    nodes, click_counts, offsets, num_nodes, last, padding, query_weight, _, key_weight, _, logit_weight, normalize = (
        inputs
    )
    _, last_click, activations, coefficients = output
    ctx.mark_non_differentiable(activations, coefficients)
    ctx.set_materialize_grads(False)
    ctx.normalize = normalize
    ctx.save_for_backward(
        *(nodes, click_counts, offsets, num_nodes, last, padding, query_weight, key_weight, logit_weight),
        *(last_click, activations, coefficients),
    )


def _backward(
    ctx: Any, grad_pooled: Optional[Tensor], grad_last_click: Optional[Tensor], *_: None
) -> tuple[Optional[Tensor], ...]:
    inputs, outputs = ctx.saved_tensors[:-3], ctx.saved_tensors[-3:]
    if grad_pooled is None and grad_last_click is None:
        return (None,) * 12
    grad_pooled = torch.zeros_like(outputs[0]) if grad_pooled is None else grad_pooled
    grad_last_click = torch.zeros_like(outputs[0]) if grad_last_click is None else grad_last_click
    nodes, *parameters = torch.ops.tagnn_fast.session_readout_backward(
        grad_pooled, grad_last_click, *inputs, ctx.normalize, *outputs
    )
    return nodes, None, None, None, None, None, *parameters, None


_eager = register_gradient("session_readout", _setup_context, _backward)
