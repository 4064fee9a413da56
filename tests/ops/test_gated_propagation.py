"""gated_propagation against its twin, in values and gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import SessionGraph, gated_propagation, reference, session_graph
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.support import CAPABILITIES, DEVICES, SESSIONS, assert_near, capability, sample_graph

OP = torch.ops.tagnn_fast.gated_propagation.default


def sample_inputs(slots: int, hidden: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
    """Nodes and parameters."""
    shapes = [
        (slots, hidden),
        (5 * hidden, hidden),
        (5 * hidden,),
        (2 * hidden,),
        (3 * hidden, 2 * hidden),
        (3 * hidden,),
    ]
    return checks.encoder_inputs(shapes, dtype, device)


def op_arguments(graph: SessionGraph, inputs: list[Tensor], steps: int) -> tuple[Tensor | int, ...]:
    lists = graph.neighbour_start, graph.neighbour_count, graph.neighbours
    return (inputs[0], graph.slot_offsets, graph.num_nodes, *lists, *inputs[1:], steps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hidden", [1, 7, 100])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(name: str, padded_length: int | None, hidden: int, dtype: torch.dtype, device: str) -> None:
    graph = sample_graph(name, padded_length, device)
    inputs = sample_inputs(graph.node_items.shape[0], hidden, dtype, device)
    checks.assert_same_function(
        lambda nodes, *parameters: gated_propagation(nodes, graph, *parameters),
        lambda nodes, *parameters: reference.gated_propagation(nodes, graph, *parameters),
        inputs,
    )


@pytest.mark.parametrize("name", ["ragged", "285 clicks"])
@pytest.mark.parametrize("hidden", [3, 120])
@pytest.mark.parametrize("device", DEVICES)
def test_three_steps(name: str, hidden: int, device: str) -> None:
    graph = sample_graph(name, 69, device)
    checks.assert_same_function(
        lambda nodes, *parameters: gated_propagation(nodes, graph, *parameters, rounds=3),
        lambda nodes, *parameters: reference.gated_propagation(nodes, graph, *parameters, rounds=3),
        sample_inputs(graph.node_items.shape[0], hidden, device=device),
    )


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("hidden", [17, 100, 512])
def test_capabilities(name: str, hidden: int) -> None:
    graph = sample_graph("ragged")
    with capability(name):
        checks.assert_same_function(
            lambda nodes, *parameters: gated_propagation(nodes, graph, *parameters),
            lambda nodes, *parameters: reference.gated_propagation(nodes, graph, *parameters),
            sample_inputs(graph.node_items.shape[0], hidden, torch.float32),
        )


def test_saturated_gates() -> None:
    """Where exp overflows or underflows, results stay finite and right."""
    graph = sample_graph("ragged")
    nodes, *parameters = sample_inputs(graph.node_items.shape[0], 20, torch.float32)
    inputs = [nodes, *(1000 * parameter for parameter in parameters)]
    expected = reference.gated_propagation(inputs[0].double(), graph, *(value.double() for value in inputs[1:]))
    out, *saved = OP(*op_arguments(graph, inputs, 1))
    assert_near(out, expected, 1e-5)
    for value in (out, *saved):
        magnitude = value[value != 0].abs()
        assert magnitude.min().item() >= torch.finfo(torch.float32).tiny, "denormals slow every product they enter"


@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck(device: str) -> None:
    graph = sample_graph("ragged", 5, device)
    inputs = [value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 2, device=device)]
    assert torch.autograd.gradcheck(lambda nodes, *rest: gated_propagation(nodes, graph, *rest, rounds=2), inputs)


@pytest.mark.parametrize("name", ["ragged", "empty batch"])
@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(name: str, device: str) -> None:
    graph = sample_graph(name, None, device)
    inputs = [value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 3, device=device)]
    torch.library.opcheck(OP, op_arguments(graph, inputs, 2))
    with torch.no_grad():
        outputs = OP(*op_arguments(graph, inputs, 2))
        arguments = op_arguments(graph, inputs, 2)
        backward = (outputs[0], *arguments[1:6], inputs[1], inputs[4], *outputs[1:])
        torch.library.opcheck(torch.ops.tagnn_fast.gated_propagation_backward.default, backward)


@pytest.mark.parametrize("device", DEVICES)
def test_unused_slots_are_zero_and_get_no_gradient(device: str) -> None:
    graph = sample_graph("all the same", 5, device)
    inputs = sample_inputs(graph.node_items.shape[0], 7, device=device)
    checks.assert_unused_slots_are_zero(
        lambda nodes, *rest: gated_propagation(nodes, graph, *rest), inputs, checks.unused_slots(graph)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_not_a_number_stays(device: str) -> None:
    graph = sample_graph("one click", None, device)
    nodes, *parameters = sample_inputs(graph.node_items.shape[0], 5, torch.float32, device=device)
    nodes[1, 2] = torch.nan
    out = gated_propagation(nodes, graph, *parameters)
    assert bool(out[1].isnan().all())
    assert not bool(out[[0, 2]].isnan().any())


@pytest.mark.parametrize("device", DEVICES)
def test_repeatable(device: str) -> None:
    graph = sample_graph("285 clicks", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 100, torch.float32, device=device)
    checks.assert_repeatable(lambda nodes, *rest: gated_propagation(nodes, graph, *rest), inputs)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 24, torch.float32, device=device)
    checks.assert_autocast_is_right(lambda nodes, *rest: gated_propagation(nodes, graph, *rest), inputs)


@torch.jit.script
def scripted(
    items: Tensor, offsets: Tensor, nodes: Tensor, w: Tensor, b: Tensor, m: Tensor, w_ih: Tensor, b_ih: Tensor
) -> Tensor:
    return gated_propagation(nodes, session_graph(items, offsets, None), w, b, m, w_ih, b_ih, 2)


def test_script() -> None:
    checks.assert_same_when_scripted(
        scripted, lambda graph, nodes, *rest: gated_propagation(nodes, graph, *rest, rounds=2), sample_inputs
    )


class Propagate(torch.nn.Module):
    def forward(self, items: Tensor, offsets: Tensor, nodes: Tensor, *parameters: Tensor) -> Tensor:
        return gated_propagation(nodes, session_graph(items, offsets), *parameters)


def test_export() -> None:
    checks.assert_same_when_exported(Propagate(), sample_inputs)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("device", DEVICES)
def test_any_graph_values(data: st.DataObject, device: str) -> None:
    """Graph tensors that no session has: nothing is read or written out of bounds, slots of nobody stay zero."""
    slots, sessions = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 4))
    entries = data.draw(st.integers(0, 8))
    tensor = partial(any_tensor, data, device)
    lists = tensor(2, slots), tensor(2, slots), tensor(2, entries)
    nodes, *parameters = sample_inputs(slots, 3, device=device)
    offsets, num_nodes = tensor(sessions + 1), tensor(sessions)
    out, *saved = OP(nodes, offsets, num_nodes, *lists, *parameters, 2)
    assert bool(torch.isfinite(out).all())
    of_somebody = reference.is_node(reference.rising_offsets(offsets, slots), num_nodes.clamp(0, slots), slots)
    assert not bool(out[~of_somebody].any())
    torch.ops.tagnn_fast.gated_propagation_backward(
        out, offsets, num_nodes, *lists, parameters[0], parameters[3], *saved
    )


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(6, dtype=torch.float64), "nodes: expected float64 (any, any) on the CPU, got float64 (6,)"),
        (0, torch.zeros(9, 4).long(), "nodes: expected float32 or float64, got int64"),
        (1, torch.zeros(3).long(), "slot_offsets: expected int64 (4,) on the CPU, got int64 (3,)"),
        (3, torch.zeros(2, 2).long(), "neighbour_start: expected int64 (2, 3) on the CPU, got int64 (2, 2)"),
        (6, torch.zeros(20, 4), "state_weight: expected float64 (20, 4) on the CPU, got float32 (20, 4)"),
        (9, torch.zeros(4, 8).double(), "weight_ih: expected float64 (12, 8) on the CPU, got float64 (4, 8)"),
        (11, 0, "steps: expected 1 or more, got 0"),
    ],
)
def test_errors(position: int, value: Tensor | int, message: str) -> None:
    arguments = list(op_arguments(sample_graph("one click"), sample_inputs(3, 4), 1))
    arguments[position] = value
    with pytest.raises(RuntimeError) as error:
        OP(*arguments)
    assert message in str(error.value)
