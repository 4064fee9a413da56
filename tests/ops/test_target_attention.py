"""Target attention, native and plain PyTorch, against scores written out click by click."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.ops import (
    SessionGraph,
    encoded_sessions,
    reference,
    session_graph,
    target_attention_cross_entropy,
    target_attention_scores,
)
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.support import CAPABILITIES, DEVICES, SESSIONS, assert_near, batch, capability, random_tensors, sample_graph

OPS = torch.ops.tagnn_fast
SANITIZED = os.environ.get("TAGNN_FAST_EXPECT_SANITIZED") == "1"
IMPLEMENTATIONS = {"native": ops, "plain": reference}


def sample_inputs(
    graph: SessionGraph, hidden: int, items: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> list[Tensor]:
    """Session vectors, keys, values and item table."""
    slots, sessions = graph.node_items.shape[0], graph.num_nodes.shape[0]
    shapes = [(sessions, hidden), (slots, hidden), (slots, hidden), (items, hidden)]
    return [hidden**-0.25 * value for value in random_tensors(shapes, dtype, device)]


def sample_targets(graph: SessionGraph, items: int) -> Tensor:
    """First and last items among them."""
    return torch.arange(-1, graph.num_nodes.shape[0] - 1, device=graph.click_counts.device) % items


def written_out(graph: SessionGraph, session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """Scores, session by session, over every click and padded position."""
    rows = []
    for number, padding in enumerate(graph.padding.tolist()):
        first, end = graph.slot_offsets[number : number + 2].tolist()
        positions = torch.arange(first, end, device=table.device).repeat_interleave(graph.click_counts[first:end])
        zeros = table.new_zeros(padding, table.shape[1])
        logits = torch.cat([keys[positions], zeros]) @ table.t()  # (positions, items)
        attended = torch.einsum("pi,pd->id", logits.softmax(0), torch.cat([values[positions], zeros]))
        rows.append(table @ session[number] + (attended * table).sum(1))
    scores = torch.stack(rows) if rows else session @ table.t()
    return scores + 0 * (keys.sum() + values.sum() + table.sum())  # none of them may matter


def scores_of(graph: SessionGraph, implementation: str = "native") -> Callable[..., Tensor]:
    function = IMPLEMENTATIONS[implementation].target_attention_scores
    return lambda *inputs: function(encoded_sessions(*inputs[:3], graph), inputs[3])


def losses_of(graph: SessionGraph, items: int, implementation: str = "native") -> Callable[..., Tensor]:
    function, targets = IMPLEMENTATIONS[implementation].target_attention_cross_entropy, sample_targets(graph, items)
    return lambda *inputs: function(encoded_sessions(*inputs[:3], graph), inputs[3], targets)


def losses_written_out(graph: SessionGraph, items: int) -> Callable[..., Tensor]:
    targets = sample_targets(graph, items)
    return lambda *inputs: torch.nn.functional.cross_entropy(written_out(graph, *inputs), targets, reduction="none")


@pytest.fixture(params=[7, 1 << 20], ids=["small chunks", "one chunk"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_chunk_items", lambda slots, items: request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("padded_length", [None, 9])
def test_plain(padded_length: int | None) -> None:
    graph = sample_graph("ragged", padded_length)
    inputs = sample_inputs(graph, 6, 20)
    checks.assert_same_function(scores_of(graph, "plain"), lambda *values: written_out(graph, *values), inputs)
    checks.assert_same_function(losses_of(graph, 20, "plain"), losses_written_out(graph, 20), inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("hidden", "items"), [(1, 1), (7, 97), (100, 48)])
@pytest.mark.parametrize("padded_length", [None, 5, 69])
@pytest.mark.parametrize("name", SESSIONS)
def test_native(name: str, padded_length: int | None, hidden: int, items: int, dtype: torch.dtype, device: str) -> None:
    graph = sample_graph(name, padded_length, device)
    inputs = sample_inputs(graph, hidden, items, dtype, device)
    checks.assert_same_function(scores_of(graph), lambda *values: written_out(graph, *values), inputs)
    checks.assert_same_function(losses_of(graph, items), losses_written_out(graph, items), inputs)


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("hidden", [3, 16, 17, 64, 120, 512])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_capabilities(name: str, hidden: int, dtype: torch.dtype) -> None:
    graph = sample_graph("ragged")
    with capability(name):
        inputs = sample_inputs(graph, hidden, 203, dtype)
        checks.assert_same_function(losses_of(graph, 203), losses_written_out(graph, 203), inputs)


@pytest.mark.parametrize("items", [1, 47, 48, 49, 96, 97, 1000])
@pytest.mark.parametrize("device", DEVICES)
def test_numbers_of_items(items: int, device: str) -> None:
    graph = sample_graph("ragged", 9, device)
    inputs = sample_inputs(graph, 20, items, torch.float32, device=device)
    checks.assert_same_function(scores_of(graph), lambda *values: written_out(graph, *values), inputs)
    checks.assert_same_function(losses_of(graph, items), losses_written_out(graph, items), inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "bound"), [(0, 1e-5), (1, 1e-3), (2, 1e-2)])
@pytest.mark.parametrize("hidden", [7, 100, 150])
def test_precisions(hidden: int, precision: int, bound: float, device: str) -> None:
    """Products may be rounded that far."""
    graph = sample_graph("285 clicks", device=device)
    inputs = [value / 2 for value in sample_inputs(graph, hidden, 200, device=device)]
    targets = sample_targets(graph, 200)
    expected = checks.outputs_and_gradients(losses_of(graph, 200, "plain"), inputs)
    session, keys, values, table = (value.float() for value in inputs)
    arguments = *encoded_sessions(session, keys, values, graph), table
    losses, normalizer = OPS.target_attention_cross_entropy(*arguments, targets, precision)
    (weights,) = random_tensors([tuple(losses.shape)], torch.float32, device)
    backward = OPS.target_attention_cross_entropy_backward
    gradients = backward(weights, *arguments, targets, normalizer, precision)
    assert_near(losses, expected[0], bound)
    for gradient, wanted in zip(gradients, expected[1:], strict=True):
        assert (gradient.double() - wanted).norm() <= bound * wanted.norm()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("padded_length", [None, 69])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("device", DEVICES)
def test_extreme_logits(sign: int, padded_length: int | None, implementation: str, device: str) -> None:
    """Logits of ±1e4 give finite losses and gradients in float32, and right ones where one entry takes all."""
    graph = sample_graph("ragged", padded_length, device)
    session, keys, values, table = sample_inputs(graph, 4, 12, device=device)
    inputs = [value.float() for value in (session, sign * 1e4 * keys.abs(), values, table.abs())]
    oracle = checks.outputs_and_gradients(losses_written_out(graph, 12), [value.double() for value in inputs])
    for value, expected in zip(
        checks.outputs_and_gradients(losses_of(graph, 12, implementation), inputs), oracle, strict=True
    ):
        assert_near(value, expected, 1e-3)  # logits near 1e4 are known to 1e-3 in float32


@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("device", DEVICES)
def test_extreme_scores(scale: float, device: str) -> None:
    """Scores near 3e4 are known to 2e-3 in float32; the keys' gradients are differences of them."""
    graph = sample_graph("ragged", 9, device)
    session, keys, values, table = sample_inputs(graph, 4, 300, device=device)
    inputs = [value.float() for value in (scale * session, keys, values, table)]
    oracle = checks.outputs_and_gradients(losses_written_out(graph, 300), [value.double() for value in inputs])
    for value, expected in zip(checks.outputs_and_gradients(losses_of(graph, 300), inputs), oracle, strict=True):
        assert_near(value, expected, 2e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_not_a_number(device: str) -> None:
    """Where it goes in, it comes out, and nowhere else."""
    graph = sample_graph("ragged", None, device)
    inputs = sample_inputs(graph, 5, 150, torch.float32, device=device)
    inputs[2][graph.slot_offsets[3]] = torch.nan
    scores = scores_of(graph)(*inputs)
    assert scores.isnan().any(1).tolist() == [False] * 3 + [True] + [False] * 4
    assert losses_of(graph, 150)(*inputs).isnan().tolist() == scores.isnan().any(1).tolist()
    best, rows = ops.target_attention_topk(encoded_sessions(*inputs[:3], graph), inputs[3], 3)
    assert best.isnan().any(1).tolist() == scores.isnan().any(1).tolist()
    assert rows[3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck(device: str) -> None:
    graph = sample_graph("skipped clicks", 5, device)
    inputs = [value.requires_grad_() for value in sample_inputs(graph, 3, 7, device=device)]
    assert torch.autograd.gradcheck(scores_of(graph), inputs)
    assert torch.autograd.gradcheck(losses_of(graph, 7), inputs)


@pytest.mark.parametrize("name", ["ragged", "empty batch"])
@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(name: str, device: str) -> None:
    graph = sample_graph(name, 5, device)
    session, keys, values, table = (value.requires_grad_() for value in sample_inputs(graph, 4, 9, device=device))
    arguments, targets = (*encoded_sessions(session, keys, values, graph), table), sample_targets(graph, 9)
    torch.library.opcheck(OPS.target_attention_scores.default, arguments)
    torch.library.opcheck(OPS.target_attention_cross_entropy.default, (*arguments, targets))
    with torch.no_grad():
        fixed = tuple(value.detach() for value in arguments)
        torch.library.opcheck(OPS.target_attention_topk.default, (*fixed, 3, targets, targets, graph.slot_offsets * 0))
        scores = OPS.target_attention_scores(*fixed)
        torch.library.opcheck(OPS.target_attention_scores_backward.default, (scores, *fixed))
        losses, normalizer = OPS.target_attention_cross_entropy(*fixed, targets)
        backward = (losses, *fixed, targets, normalizer)
        torch.library.opcheck(OPS.target_attention_cross_entropy_backward.default, backward)


@pytest.mark.parametrize("device", DEVICES)
def test_unused_slots_get_no_gradient(device: str) -> None:
    graph = sample_graph("empty session", None, device)
    _, _, grad_keys, grad_values, _ = checks.outputs_and_gradients(
        losses_of(graph, 30), sample_inputs(graph, 7, 30, device=device)
    )
    assert not bool(grad_keys[checks.unused_slots(graph)].any())
    assert not bool(grad_values[checks.unused_slots(graph)].any())


@pytest.mark.parametrize("device", DEVICES)
def test_repeatable(device: str) -> None:
    graph = sample_graph("285 clicks", None, device)
    inputs = sample_inputs(graph, 100, 3000, torch.float32, device=device)
    checks.assert_repeatable(losses_of(graph, 3000), inputs)
    checks.assert_repeatable(scores_of(graph), inputs)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str) -> None:
    graph = sample_graph("ragged", 9, device)
    inputs = sample_inputs(graph, 24, 40, torch.float32, device=device)
    checks.assert_autocast_is_right(losses_of(graph, 40), inputs)
    checks.assert_autocast_is_right(scores_of(graph), inputs)
    with torch.autocast(device, torch.bfloat16):
        assert_near(scores_of(graph, "plain")(*inputs), scores_of(graph)(*inputs), 0.03)


def check_bfloat16_table(dtype: torch.dtype, device: str) -> None:
    """Scores are those of the rounded table, to the bit."""
    graph = sample_graph("ragged", None, device)
    for hidden in (3, 37):
        session, keys, values, table = sample_inputs(graph, hidden, 110, dtype, device)
        rounded = table.bfloat16()
        encoded = encoded_sessions(session, keys, values, graph)
        expected = target_attention_scores(encoded, rounded.to(dtype))
        assert torch.equal(target_attention_scores(encoded, rounded), expected)
        assert_near(reference.target_attention_scores(encoded, rounded), expected, 1e-5)
        actual = ops.target_attention_topk(encoded, rounded, 5)
        for value, other in zip(actual, ops.target_attention_topk(encoded, rounded.to(dtype), 5), strict=True):
            assert torch.equal(value, other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bfloat16_table(dtype: torch.dtype, device: str) -> None:
    check_bfloat16_table(dtype, device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CAPABILITIES)
def test_capabilities_with_a_bfloat16_table(name: str, dtype: torch.dtype) -> None:
    with capability(name):
        check_bfloat16_table(dtype, "cpu")


@torch.jit.script
def scripted(
    items: Tensor, offsets: Tensor, session: Tensor, keys: Tensor, table: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    graph = session_graph(items, offsets, None)
    encoded = encoded_sessions(session, keys, keys, graph)
    return target_attention_scores(encoded, table), target_attention_cross_entropy(encoded, table, targets)


def test_script() -> None:
    clicks, graph = batch(SESSIONS["ragged"]), sample_graph("ragged")
    session, keys, _, table = sample_inputs(graph, 6, 20)
    targets = sample_targets(graph, 20)
    scores, losses = checks.script_round_trip(scripted)(*clicks, session, keys, table, targets)
    encoded = encoded_sessions(session, keys, keys, graph)
    assert torch.equal(scores, target_attention_scores(encoded, table))
    assert torch.equal(losses, target_attention_cross_entropy(encoded, table, targets))


class Score(torch.nn.Module):
    def forward(self, items: Tensor, offsets: Tensor, keys: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        graph, (table,) = session_graph(items, offsets), parameters
        session = table.new_zeros((offsets.shape[0] - 1, table.shape[1]))
        encoded = encoded_sessions(session, keys, keys, graph)
        return target_attention_scores(encoded, table), ops.target_attention_topk(encoded, table, 3)[1]


def test_export() -> None:
    _, keys, _, table = sample_inputs(sample_graph("ragged"), 6, 20)
    loaded = checks.export_round_trip(Score(), "ragged", [keys, table])
    clicks = batch(SESSIONS["285 clicks"])
    _, keys, _, _ = sample_inputs(sample_graph("285 clicks"), 6, 20)
    for actual, expected in zip(loaded(*clicks, keys, table), Score()(*clicks, keys, table), strict=True):
        assert torch.equal(actual, expected)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("device", DEVICES)
def test_any_graph_values(data: st.DataObject, device: str) -> None:
    slots, sessions, items = (data.draw(st.integers(0, most)) for most in (8, 4, 60))
    tensor = partial(any_tensor, data, device)
    session, keys, values, table = random_tensors(
        [(sessions, 3), (slots, 3), (slots, 3), (items, 3)],
        data.draw(st.sampled_from([torch.float32, torch.float64])),
        device,
    )
    arguments = (session, keys, values, tensor(slots), tensor(sessions), tensor(sessions + 1), table)
    targets = tensor(sessions)
    scores = OPS.target_attention_scores(*arguments)
    assert bool(torch.isfinite(scores).all())
    losses, normalizer = OPS.target_attention_cross_entropy(*arguments, targets)
    if items > 0:
        assert losses.isnan().tolist() == [not 0 <= target < items for target in targets.tolist()]
    OPS.target_attention_cross_entropy_backward(session.new_ones(sessions), *arguments, targets, normalizer)
    assert all(bool(value.isfinite().all()) for value in OPS.target_attention_scores_backward(scores, *arguments))
    k, candidates, excluded = data.draw(st.integers(0, 70)), tensor(5), tensor(6)
    best, rows = OPS.target_attention_topk(*arguments, k, candidates, excluded, tensor(sessions + 1))
    assert best.shape == rows.shape == (sessions, k)
    assert set(rows.flatten().tolist()) <= {-1, *candidates.tolist()}


MEASURE_MEMORY = """
import ctypes, torch
from tagnn_fast.ops import *
items, offsets = torch.randint(1, 43098, (2048,)), torch.arange(513) * 4
graph = session_graph(items, offsets)
inputs = [torch.randn(rows, 100, requires_grad=True) for rows in (512, 2048, 2048, 43097)]
arguments = encoded_sessions(*inputs[:3], graph), inputs[3]
def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
target_attention_topk(*arguments, 1)  # threads have started
ctypes.CDLL(None).malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here on
before = status("VmRSS")
target_attention_topk(*arguments, 20)
losses = target_attention_cross_entropy(*arguments, torch.zeros(512, dtype=torch.int64))
gradients = torch.autograd.grad(losses.sum(), inputs)
print((status("VmHWM") - before) // 1024 - sum(value.numel() * 4 for value in gradients) // 2**20)
"""


@pytest.mark.skipif(SANITIZED, reason="sanitizers have memory of their own")
def test_memory() -> None:
    """Top-k and a training step hold less than 64 MB beyond inputs and gradients; all scores would be 88 MB."""
    result = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 64


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3, 4).bfloat16(), "session: expected float32 or float64, got bfloat16"),
        (1, torch.zeros(3, 5).double(), "keys: expected float64 (any, 4) on the CPU, got float64 (3, 5)"),
        (2, torch.zeros(2, 4).double(), "values: expected float64 (3, 4) on the CPU, got float64 (2, 4)"),
        (3, torch.zeros(2).long(), "clicks: expected int64 (3,) on the CPU, got int64 (2,)"),
        (4, torch.zeros(3), "padding: expected int64 (3,) on the CPU, got float32 (3,)"),
        (5, torch.zeros(3).long(), "slot_offsets: expected int64 (4,) on the CPU, got int64 (3,)"),
        (6, torch.zeros(9, 4), "table: expected float64 (any, 4) on the CPU, got float32 (9, 4)"),
        (7, torch.zeros(2).long(), "targets: expected int64 (3,) on the CPU, got int64 (2,)"),
    ],
)
def test_errors(position: int, value: Tensor, message: str) -> None:
    graph = sample_graph("one click")
    session, keys, values, table = sample_inputs(graph, 4, 9)
    arguments = [*encoded_sessions(session, keys, values, graph), table, sample_targets(graph, 9)]
    arguments[position] = value
    with pytest.raises(RuntimeError) as error:
        OPS.target_attention_cross_entropy(*arguments)
    assert message in str(error.value)
