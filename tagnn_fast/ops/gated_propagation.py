"""Gated propagation over session graphs (SR-GNN, equations 1-5; TAGNN, equations 1-5)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast import reference
from tagnn_fast.ops.session_graph import SessionGraph


def gated_propagation(
    nodes: Tensor,
    graph: SessionGraph,
    edge_weight: Tensor,
    edge_bias: Tensor,
    message_bias: Tensor,
    weight_ih: Tensor,
    bias_ih: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor,
    steps: int = 1,
) -> Tensor:
    """Node states after `steps` rounds of: average over in- and out-neighbours, then a GRU cell.

    Args:
        nodes: node states, float (slots, hidden); empty slots may hold anything.
        graph: the sessions' graphs.
        edge_weight: projections of in- and out-neighbours, one below the other, float (2 hidden, hidden).
        edge_bias: their biases, inside the average, float (2 hidden,).
        message_bias: biases after the average, which reach nodes without neighbours too, float (2 hidden,).
        weight_ih: GRU weights of the message, gates in order reset, update, candidate, float (3 hidden, 2 hidden).
        bias_ih: float (3 hidden,).
        weight_hh: GRU weights of the state, float (3 hidden, hidden).
        bias_hh: float (3 hidden,).
        steps: rounds of propagation, 1 or more.

    Returns:
        float (slots, hidden); zeros in empty slots.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    if torch.jit.is_scripting() or not nodes.is_cuda:
        return torch.ops.tagnn_fast.gated_propagation(  # type: ignore[no-any-return]
            nodes,
            graph.slot_offsets,
            graph.num_nodes,
            graph.neighbour_start,
            graph.neighbour_count,
            graph.neighbours,
            edge_weight,
            edge_bias,
            message_bias,
            weight_ih,
            bias_ih,
            weight_hh,
            bias_hh,
            steps,
        )[0]
    return reference.gated_propagation(
        nodes, graph, edge_weight, edge_bias, message_bias, weight_ih, bias_ih, weight_hh, bias_hh, steps
    )


@torch.library.register_fake("tagnn_fast::gated_propagation")
def _(nodes: Tensor, slot_offsets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    steps: int = rest[11] if len(rest) > 11 else 1
    return (
        nodes.new_empty((slots, hidden)),
        nodes.new_empty((steps - 1, slots, hidden)),
        nodes.new_empty((steps, slots, 2 * hidden)),
        nodes.new_empty((steps, slots, 3 * hidden)),
        nodes.new_empty((steps, slots, hidden)),
    )


@torch.library.register_fake("tagnn_fast::gated_propagation_backward")
def _(grad: Tensor, nodes: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slots, hidden = nodes.shape
    biases = (2 * hidden,), (2 * hidden,), (3 * hidden,), (3 * hidden,)
    return (
        nodes.new_empty((slots, hidden)),
        nodes.new_empty((2 * hidden, hidden)),
        nodes.new_empty(biases[0]),
        nodes.new_empty(biases[1]),
        nodes.new_empty((3 * hidden, 2 * hidden)),
        nodes.new_empty(biases[2]),
        nodes.new_empty((3 * hidden, hidden)),
        nodes.new_empty(biases[3]),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    nodes, slot_offsets, num_nodes, start, count, neighbours, edge_weight, _, _, weight_ih, _, weight_hh, *_ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        nodes, slot_offsets, num_nodes, start, count, neighbours, edge_weight, weight_ih, weight_hh, *output[1:]
    )


def _backward(ctx: Any, grad: Optional[Tensor], *_: None) -> tuple[Optional[Tensor], ...]:
    if grad is None:
        return (None,) * 14
    nodes, *parameters = torch.ops.tagnn_fast.gated_propagation_backward(grad, *ctx.saved_tensors)
    return nodes, None, None, None, None, None, *parameters, None


torch.library.register_autograd("tagnn_fast::gated_propagation", _backward, setup_context=_setup_context)
torch.library.register_autocast("tagnn_fast::gated_propagation", "cpu", torch.float32)
