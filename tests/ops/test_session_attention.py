"""session_attention against its twin, in values, gradients and dropout mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import reference, session_attention, session_graph
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.support import CAPABILITIES, DEVICES, SESSIONS, assert_near, capability, sample_graph

OP = torch.ops.tagnn_fast.session_attention.default
SEED = torch.tensor([2**40 + 12345])


def sample_inputs(slots: int, hidden: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
    """Nodes and parameters."""
    shapes = [(slots, hidden), (3 * hidden, hidden), (3 * hidden,), (hidden, hidden), *[(hidden,)] * 3]
    return checks.encoder_inputs(shapes, dtype, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("hidden", "heads"), [(1, 1), (7, 1), (100, 2), (12, 12)])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(
    name: str, padded_length: int | None, hidden: int, heads: int, dtype: torch.dtype, device: str
) -> None:
    graph = sample_graph(name, padded_length, device)
    checks.assert_same_function(
        lambda nodes, *parameters: session_attention(nodes, graph, *parameters, heads),
        lambda nodes, *parameters: reference.session_attention(nodes, graph, *parameters, heads),
        sample_inputs(graph.node_items.shape[0], hidden, dtype, device),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", ["ragged", "285 clicks"])
def test_dropout(name: str, causal: bool, dropout: float, device: str) -> None:
    """The mask is the same in the kernel, its backward and the twin."""
    graph, seed = sample_graph(name, None, device), SEED.to(device)
    checks.assert_same_function(
        lambda nodes, *parameters: session_attention(nodes, graph, *parameters, 2, causal, dropout, seed),
        lambda nodes, *parameters: reference.session_attention(nodes, graph, *parameters, 2, causal, dropout, seed),
        sample_inputs(graph.node_items.shape[0], 10, device=device),
    )


def test_dropout_is_random() -> None:
    """Drops the stated share, differently by seed, and keeps the mean."""
    offsets = torch.arange(0, 601, 200)
    factors = reference.dropout_factors(offsets, 600, 4, 0.25, SEED)
    assert abs((factors == 0).double().mean().item() - 0.25) < 0.002
    assert abs(factors.mean().item() - 1) < 0.003
    rows = factors.flatten(0, 1)
    assert abs(torch.corrcoef(rows[:50]).triu(1).abs().max().item()) < 0.25
    assert not torch.equal(factors, reference.dropout_factors(offsets, 600, 4, 0.25, SEED + 1))


def test_philox_known_answer() -> None:
    """The first vectors of Random123's known-answer file."""
    zero, ones = torch.tensor(0), torch.tensor(0xFFFFFFFF)
    assert [hex(word) for word in reference.philox(zero, (zero,) * 4)] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]
    assert [hex(word) for word in reference.philox(torch.tensor(-1), (ones,) * 4)] == [
        "0x408f276d",
        "0x41c83b0e",
        "0xa20bc7c6",
        "0x6d5451fd",
    ]


def test_matches_pytorch() -> None:
    """One session against torch.nn.MultiheadAttention."""
    graph = session_graph(torch.arange(1, 12), torch.tensor([0, 11]))
    module = torch.nn.MultiheadAttention(20, 2, batch_first=True, dtype=torch.float64)
    nodes = torch.randn(11, 20, dtype=torch.float64)
    mask = torch.ones(11, 11, dtype=torch.bool).triu(1)
    expected, _ = module(nodes[None], nodes[None], nodes[None], attn_mask=mask)
    parameters = module.in_proj_weight, module.in_proj_bias, module.out_proj.weight, module.out_proj.bias
    norm = torch.nn.LayerNorm(20, dtype=torch.float64)
    assert_near(session_attention(nodes, graph, *parameters, None, None, 2), expected[0], 1e-12)
    residual = session_attention(nodes, graph, *parameters, norm.weight, norm.bias, 2)
    assert_near(residual, expected[0] + norm(nodes), 1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_without_residual(device: str) -> None:
    graph = sample_graph("skipped clicks", None, device)
    checks.assert_same_function(
        lambda nodes, *parameters: session_attention(nodes, graph, *parameters, None, None, 2),
        lambda nodes, *parameters: reference.session_attention(nodes, graph, *parameters, None, None, 2),
        sample_inputs(graph.node_items.shape[0], 10, device=device)[:5],
    )


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("hidden", [34, 100, 512])
def test_capabilities(name: str, hidden: int) -> None:
    graph = sample_graph("ragged")
    with capability(name):
        checks.assert_same_function(
            lambda nodes, *parameters: session_attention(nodes, graph, *parameters, 2, True, 0.2, SEED),
            lambda nodes, *parameters: reference.session_attention(nodes, graph, *parameters, 2, True, 0.2, SEED),
            sample_inputs(graph.node_items.shape[0], hidden, torch.float32),
        )


@pytest.mark.parametrize("device", DEVICES)
def test_extreme_logits(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    nodes, *parameters = sample_inputs(graph.node_items.shape[0], 20, torch.float32, device=device)
    inputs = [100 * nodes, *parameters]
    expected = reference.session_attention(inputs[0].double(), graph, *(value.double() for value in parameters), 2)
    assert_near(session_attention(inputs[0], graph, *parameters, 2), expected, 1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    inputs = [value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 4, device=device)]
    assert torch.autograd.gradcheck(
        lambda nodes, *rest: session_attention(nodes, graph, *rest, 2, True, 0.3, SEED.to(device)), inputs
    )


@pytest.mark.parametrize("name", ["ragged", "empty batch"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(name: str, dropout: float, device: str) -> None:
    graph = sample_graph(name, None, device)
    nodes, *parameters = (
        value.requires_grad_() for value in sample_inputs(graph.node_items.shape[0], 4, device=device)
    )
    sessions, seed = (graph.slot_offsets, graph.num_nodes), SEED.to(device)
    torch.library.opcheck(OP, (nodes, *sessions, *parameters, 2, True, dropout, seed))
    with torch.no_grad():
        out, *saved = OP(nodes, *sessions, *parameters, 2, True, dropout, seed)
        backward = (out, *sessions, parameters[0], parameters[2], parameters[4], 2, True, dropout, seed, *saved)
        torch.library.opcheck(torch.ops.tagnn_fast.session_attention_backward.default, backward)


@pytest.mark.parametrize("device", DEVICES)
def test_unused_slots_are_zero_and_get_no_gradient(device: str) -> None:
    graph = sample_graph("all the same", 5, device)
    inputs = sample_inputs(graph.node_items.shape[0], 8, device=device)
    checks.assert_unused_slots_are_zero(
        lambda nodes, *rest: session_attention(nodes, graph, *rest, 2), inputs, checks.unused_slots(graph)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_repeatable(device: str) -> None:
    graph = sample_graph("285 clicks", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 100, torch.float32, device=device)
    checks.assert_repeatable(
        lambda nodes, *rest: session_attention(nodes, graph, *rest, 2, True, 0.1, SEED.to(device)), inputs
    )


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str) -> None:
    graph = sample_graph("ragged", None, device)
    inputs = sample_inputs(graph.node_items.shape[0], 24, torch.float32, device=device)
    checks.assert_autocast_is_right(lambda nodes, *rest: session_attention(nodes, graph, *rest, 2), inputs)


@torch.jit.script
def scripted(
    items: Tensor,
    offsets: Tensor,
    nodes: Tensor,
    qkv: Tensor,
    qkv_b: Tensor,
    out: Tensor,
    out_b: Tensor,
    w: Tensor,
    b: Tensor,
) -> Tensor:
    return session_attention(nodes, session_graph(items, offsets, None), qkv, qkv_b, out, out_b, w, b, 2)


def test_script() -> None:
    checks.assert_same_when_scripted(
        scripted, lambda graph, nodes, *rest: session_attention(nodes, graph, *rest, 2), sample_inputs
    )


class Attend(torch.nn.Module):
    def forward(self, items: Tensor, offsets: Tensor, nodes: Tensor, *parameters: Tensor) -> Tensor:
        return session_attention(nodes, session_graph(items, offsets), *parameters, 2)


def test_export() -> None:
    checks.assert_same_when_exported(Attend(), sample_inputs)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("device", DEVICES)
def test_any_graph_values(data: st.DataObject, device: str) -> None:
    slots, sessions = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 4))
    offsets, counts, seed = (any_tensor(data, device, size) for size in (sessions + 1, sessions, 1))
    nodes, *parameters = sample_inputs(slots, 4, device=device)
    out, *saved = OP(nodes, offsets, counts, *parameters, 2, True, 0.2, seed)
    assert bool(torch.isfinite(out).all())
    torch.ops.tagnn_fast.session_attention_backward(
        out, offsets, counts, parameters[0], parameters[2], parameters[4], 2, True, 0.2, seed, *saved
    )


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3, 4).half(), "nodes: expected float32 or float64, got float16"),
        (3, torch.zeros(4, 4).double(), "qkv_weight: expected float64 (12, 4) on the CPU, got float64 (4, 4)"),
        (9, 3, "heads: expected a divisor of hidden, got 3"),
        (9, 0, "heads: expected a divisor of hidden, got 0"),
        (11, 1.0, "dropout: expected a rate in [0, 1), got 1"),
        (12, None, "seed: expected an int64 (1,) tensor where dropout is used, got None"),
        (8, None, "norm_bias: expected with norm_weight, and none without; got one of them"),
        (12, torch.zeros(2).long(), "seed: expected int64 (1,) on the CPU, got int64 (2,)"),
    ],
)
def test_errors(position: int, value: object, message: str) -> None:
    graph = sample_graph("one click")
    nodes, *parameters = sample_inputs(3, 4)
    arguments = [nodes, graph.slot_offsets, graph.num_nodes, *parameters, 2, True, 0.1, SEED]
    arguments[position] = value
    with pytest.raises(RuntimeError) as error:
        OP(*arguments)
    assert message in str(error.value)
