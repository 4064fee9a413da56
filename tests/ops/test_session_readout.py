"""session_readout against its twin, in values and gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import SessionGraph, reference, session_graph, session_readout
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.support import CAPABILITIES, DEVICES, SESSIONS, assert_near, capability, sample_graph

OP = torch.ops.tagnn_fast.session_readout.default


def sample_inputs(slots: int, hidden: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
    """Nodes and parameters."""
    shapes = [(slots, hidden), (hidden, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden,)]
    return checks.encoder_inputs(shapes, dtype, device)


def graph_arguments(graph: SessionGraph) -> tuple[Tensor, ...]:
    return graph.click_counts, graph.slot_offsets, graph.num_nodes, graph.last_node, graph.padding


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hidden", [1, 7, 100])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(
    name: str, padded_length: int | None, normalize: bool, hidden: int, dtype: torch.dtype, device: str
) -> None:
    graph = sample_graph(name, padded_length, device)
    checks.assert_same_function(
        lambda nodes, *parameters: session_readout(nodes, graph, *parameters, normalize),
        lambda nodes, *parameters: reference.session_readout(nodes, graph, *parameters, normalize),
        sample_inputs(graph.node_items.shape[0], hidden, dtype, device),
    )


def test_definition() -> None:
    """Padded positions are clicks on the padding node whose value counts for nothing."""
    graph = session_graph(torch.tensor([7, 3, 7]), torch.tensor([0, 3]), 5)
    nodes, query_weight, query_bias, key_weight, key_bias, logit_weight = sample_inputs(4, 6)
    padding, three, seven = nodes[:3]
    states = torch.stack([seven, three, seven, padding, padding])
    logits = torch.sigmoid(query_weight @ seven + query_bias + states @ key_weight.t() + key_bias) @ logit_weight
    pooled, last_click = session_readout(nodes, graph, query_weight, query_bias, key_weight, key_bias, logit_weight)
    assert_near(pooled[0], logits.softmax(0)[:3] @ states[:3], 1e-12)
    assert torch.equal(last_click[0], seven)
    plain, _ = session_readout(nodes, graph, query_weight, query_bias, key_weight, key_bias, logit_weight, False)
    assert_near(plain[0], logits[:3] @ states[:3], 1e-12)


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("hidden", [17, 100, 512])
def test_capabilities(name: str, hidden: int) -> None:
    graph = sample_graph("ragged")
    with capability(name):
        checks.assert_same_function(
            lambda nodes, *parameters: session_readout(nodes, graph, *parameters, False),
            lambda nodes, *parameters: reference.session_readout(nodes, graph, *parameters, False),
            sample_inputs(graph.node_items.shape[0], hidden, torch.float32),
        )


@pytest.mark.parametrize("device", DEVICES)
def test_extreme_logits(device: str) -> None:
    graph = sample_graph("ragged", 9, device)
    *inputs, logit_weight = sample_inputs(graph.node_items.shape[0], 20, torch.float32, device=device)
    inputs.append(1e4 * logit_weight)
    expected = reference.session_readout(inputs[0].double(), graph, *(value.double() for value in inputs[1:]))
    # Logits near 1e4 are known to 1e-3 in float32.
    assert_near(session_readout(inputs[0], graph, *inputs[1:])[0], expected[0], 1e-2)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck(normalize: bool, device: str) -> None:
    graph = sample_graph("skipped clicks", 5, device)
    inputs = [value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 3, device=device)]
    assert torch.autograd.gradcheck(lambda nodes, *rest: session_readout(nodes, graph, *rest, normalize), inputs)


@pytest.mark.parametrize("name", ["ragged", "empty batch"])
@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(name: str, device: str) -> None:
    graph = sample_graph(name, 5, device)
    nodes, *parameters = (
        value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 4, device=device)
    )
    torch.library.opcheck(OP, (nodes, *graph_arguments(graph), *parameters, True))
    with torch.no_grad():
        pooled, last_click, *saved = OP(nodes, *graph_arguments(graph), *parameters, True)
        weights = parameters[0], parameters[2], parameters[4]
        backward = (pooled, last_click, nodes, *graph_arguments(graph), *weights, True, last_click, *saved)
        torch.library.opcheck(torch.ops.tagnn_fast.session_readout_backward.default, backward)


@pytest.mark.parametrize("device", DEVICES)
def test_unused_slots_get_no_gradient_and_empty_sessions_are_zero(device: str) -> None:
    graph = sample_graph("empty session", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 7, device=device)
    pooled, last_click, grad_nodes, *_ = checks.outputs_and_gradients(
        lambda nodes, *rest: session_readout(nodes, graph, *rest), inputs
    )
    empty = graph.num_nodes == 0
    assert not bool(pooled[empty].any())
    assert not bool(last_click[empty].any())
    assert not bool(grad_nodes[checks.unused_slots(graph)].any())


@pytest.mark.parametrize("device", DEVICES)
def test_last_nodes_of_others_are_none(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 7, device=device)
    none, others = torch.full_like(graph.last_node, -1), graph.last_node.roll(1)
    expected, found = (
        session_readout(inputs[0], graph._replace(last_node=last), *inputs[1:]) for last in (none, others)
    )
    assert torch.equal(found[0], expected[0])
    assert not bool(found[1].any())


@pytest.mark.parametrize("device", DEVICES)
def test_repeatable(device: str) -> None:
    graph = sample_graph("285 clicks", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 100, torch.float32, device=device)
    checks.assert_repeatable(lambda nodes, *rest: session_readout(nodes, graph, *rest), inputs)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 24, torch.float32, device=device)
    checks.assert_autocast_is_right(lambda nodes, *rest: session_readout(nodes, graph, *rest, False), inputs)


@torch.jit.script
def scripted(
    items: Tensor, offsets: Tensor, nodes: Tensor, q: Tensor, q_bias: Tensor, k: Tensor, k_bias: Tensor, w: Tensor
) -> tuple[Tensor, Tensor]:
    return session_readout(nodes, session_graph(items, offsets, None), q, q_bias, k, k_bias, w)


def test_script() -> None:
    checks.assert_same_when_scripted(
        scripted, lambda graph, nodes, *rest: session_readout(nodes, graph, *rest), sample_inputs
    )


class Read(torch.nn.Module):
    def forward(self, items: Tensor, offsets: Tensor, nodes: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return session_readout(nodes, session_graph(items, offsets), *parameters)


def test_export() -> None:
    checks.assert_same_when_exported(Read(), sample_inputs)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("device", DEVICES)
def test_any_graph_values(data: st.DataObject, device: str) -> None:
    slots, sessions = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 4))
    tensor = partial(any_tensor, data, device)
    graph = tensor(slots), tensor(sessions + 1), tensor(sessions), tensor(sessions), tensor(sessions)
    nodes, *parameters = sample_inputs(slots, 3, device=device)
    pooled, last_click, *saved = OP(nodes, *graph, *parameters, data.draw(st.booleans()))
    weights = parameters[0], parameters[2], parameters[4]
    gradients = torch.ops.tagnn_fast.session_readout_backward(
        pooled, last_click, nodes, *graph, *weights, True, last_click, *saved
    )
    assert all(bool(torch.isfinite(value).all()) for value in (last_click, *gradients))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3, 4).bfloat16(), "nodes: expected float32 or float64, got bfloat16"),
        (1, torch.zeros(2).long(), "clicks: expected int64 (3,) on the CPU, got int64 (2,)"),
        (4, torch.zeros(3), "last_node: expected int64 (3,) on the CPU, got float32 (3,)"),
        (6, torch.zeros(4, 3).double(), "query_weight: expected float64 (4, 4) on the CPU, got float64 (4, 3)"),
        (10, torch.zeros(4), "logit_weight: expected float64 (4,) on the CPU, got float32 (4,)"),
    ],
)
def test_errors(position: int, value: Tensor, message: str) -> None:
    nodes, *parameters = sample_inputs(3, 4)
    arguments = [nodes, *graph_arguments(sample_graph("one click")), *parameters, True]
    arguments[position] = value
    with pytest.raises(RuntimeError) as error:
        OP(*arguments)
    assert message in str(error.value)
