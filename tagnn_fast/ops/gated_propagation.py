"""Gated propagation over session graphs (SR-GNN, equations 1-5; TAGNN, equations 1-5)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.autograd import register_gradient
from tagnn_fast.ops.graph import SessionGraph


def gated_propagation(
    nodes: Tensor,
    graph: SessionGraph,
    state_weight: Tensor,
    state_bias: Tensor,
    message_bias: Tensor,
    weight_ih: Tensor,
    bias_ih: Tensor,
    rounds: int = 1,
) -> Tensor:
    """Node states after some rounds of: average over in- and out-neighbours, then a GRU cell.

    Args:
        nodes: node states, float (slots, hidden); empty slots may hold anything.
        graph: the sessions' graphs.
        state_weight: everything that multiplies a state, in blocks of hidden rows: what it sends along in-edges, along
            out-edges, and its part of the GRU's gates reset, update, candidate; float (5 hidden, hidden).
        state_bias: their biases; those of the edges are inside the averages; float (5 hidden,).
        message_bias: biases after the averages, which reach nodes without neighbours too, float (2 hidden,).
        weight_ih: the messages' part of the gates reset, update, candidate, float (3 hidden, 2 hidden).
        bias_ih: its biases, float (3 hidden,).
        rounds: how many, 1 or more.

    Returns:
        float (slots, hidden); zeros in empty slots.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    of_graph = graph.slot_offsets, graph.num_nodes, graph.neighbour_start, graph.neighbour_count, graph.neighbours
    parameters = state_weight, state_bias, message_bias, weight_ih, bias_ih, rounds
    if not torch.jit.is_scripting():
        if not library.has_kernel(nodes):
            return reference.gated_propagation(nodes, graph, *parameters)
        if not torch.compiler.is_compiling():
            return _eager(nodes, *of_graph, *parameters)[0]  # type: ignore[no-any-return]
    return torch.ops.tagnn_fast.gated_propagation(nodes, *of_graph, *parameters)[0]  # type: ignore[no-any-return]


@torch.library.register_fake("tagnn_fast::gated_propagation")
def _(nodes: Tensor, *rest: Any, steps: int = 1) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    steps = rest[10] if len(rest) > 10 else steps
    widths = hidden, 2 * hidden, 5 * hidden, 3 * hidden
    return nodes.new_empty((slots, hidden)), *(nodes.new_empty((steps, slots, width)) for width in widths)


@torch.library.register_fake("tagnn_fast::gated_propagation_backward")
def _(grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = grad.shape
    shapes = (
        (slots, hidden),
        (5 * hidden, hidden),
        (5 * hidden,),
        (2 * hidden,),
        (3 * hidden, 2 * hidden),
        (3 * hidden,),
    )
    return tuple(grad.new_empty(shape) for shape in shapes)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, slot_offsets, num_nodes, start, count, neighbours, state_weight, _, _, weight_ih, *_ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(slot_offsets, num_nodes, start, count, neighbours, state_weight, weight_ih, *output[1:])


def _backward(ctx: Any, grad: Optional[Tensor], *_: None) -> tuple[Optional[Tensor], ...]:
    if grad is None:
        return (None,) * 12
    nodes, *parameters = torch.ops.tagnn_fast.gated_propagation_backward(grad, *ctx.saved_tensors)
    return nodes, None, None, None, None, None, *parameters, None


_eager = register_gradient("gated_propagation", _setup_context, _backward)
