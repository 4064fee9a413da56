"""Target attention against the formula written out on [sessions, items, hidden]."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from support import DEVICES, SESSIONS, assert_near, assert_same_function, random_tensors, sample_graph
from tagnn_fast import reference
from tagnn_fast.ops import (
    SessionGraph,
    target_attention_cross_entropy,
    target_attention_scores,
    target_attention_topk,
)


def sample_inputs(
    graph: SessionGraph, hidden: int, items: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> list[Tensor]:
    """Session vectors, keys, values and item table."""
    slots, sessions = graph.node_items.shape[0], graph.num_nodes.shape[0]
    shapes = [(sessions, hidden), (slots, hidden), (slots, hidden), (items, hidden)]
    return [hidden**-0.25 * value for value in random_tensors(shapes, dtype, device)]


def written_out(graph: SessionGraph, session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """Scores, session by session, over every click and padded position."""
    rows = []
    for number, padding in enumerate(graph.padding.tolist()):
        first, end = graph.slot_offsets[number : number + 2].tolist()
        positions = torch.arange(first, end, device=table.device).repeat_interleave(graph.clicks[first:end])
        zeros = table.new_zeros(padding, table.shape[1])
        logits = torch.cat([keys[positions], zeros]) @ table.t()  # (positions, items)
        attended = torch.einsum("pi,pd->id", logits.softmax(0), torch.cat([values[positions], zeros]))
        rows.append(table @ session[number] + (attended * table).sum(1))
    return torch.stack(rows) if rows else session @ table.t() + 0 * (keys.sum() + values.sum())


def graph_part(graph: SessionGraph) -> tuple[Tensor, Tensor, Tensor]:
    return graph.clicks, graph.padding, graph.slot_offsets


@pytest.fixture(params=[7, 1 << 20], ids=["small chunks", "one chunk"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_chunk_items", lambda slots, items: request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("padded_length", [None, 5, 69])
@pytest.mark.parametrize("name", SESSIONS)
def test_scores(name: str, padded_length: int | None, dtype: torch.dtype, device: str) -> None:
    graph = sample_graph(name, padded_length, device)
    assert_same_function(
        lambda session, keys, values, table: target_attention_scores(session, keys, values, *graph_part(graph), table),
        lambda *inputs: written_out(graph, *inputs),
        sample_inputs(graph, 6, 20, dtype, device),
    )


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("padded_length", [None, 9])
def test_cross_entropy(padded_length: int | None) -> None:
    graph = sample_graph("ragged", padded_length)
    targets = torch.tensor([3, 0, 19, 19, 5, 7, 11, 1])
    assert_same_function(
        lambda session, keys, values, table: target_attention_cross_entropy(
            session, keys, values, *graph_part(graph), table, targets
        ),
        lambda *inputs: torch.nn.functional.cross_entropy(written_out(graph, *inputs), targets, reduction="none"),
        sample_inputs(graph, 6, 20),
    )


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("k", [1, 6, 20])
def test_topk(k: int) -> None:
    """Best first, equal scores by row, however the items are cut into chunks."""
    graph = sample_graph("ragged", 9)
    # Multiples of 1/4 have exact products, so that equal items score equally in any chunk.
    session, keys, values, table = [(4 * value).round() / 4 for value in sample_inputs(graph, 6, 20)]
    table[[3, 8, 15]] = table[11].clone()
    scores = target_attention_scores(session, keys, values, *graph_part(graph), table)
    expected = [sorted(range(20), key=lambda row, line=line: (-line[row], row))[:k] for line in scores.tolist()]
    best, rows = target_attention_topk(session, keys, values, *graph_part(graph), table, k)
    assert rows.tolist() == expected
    assert_near(best, scores.gather(1, rows), 1e-12)


@pytest.mark.parametrize("padded_length", [None, 69])
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_logits(sign: int, padded_length: int | None) -> None:
    """Logits of ±1e4 give finite scores, losses and gradients in float32."""
    graph = sample_graph("ragged", padded_length)
    session, keys, values, table = sample_inputs(graph, 4, 12)
    inputs = [session, sign * 1e4 * keys.abs(), values, table.abs()]
    targets = torch.zeros(8, dtype=torch.int64)
    leaves = [value.float().requires_grad_() for value in inputs]
    losses = target_attention_cross_entropy(*leaves[:3], *graph_part(graph), leaves[3], targets)
    losses.sum().backward()
    expected = torch.nn.functional.cross_entropy(written_out(graph, *inputs), targets, reduction="none")
    assert_near(losses, expected, 1e-3)
    assert all(bool(torch.isfinite(leaf.grad).all()) for leaf in leaves if leaf.grad is not None)


def test_autocast() -> None:
    graph = sample_graph("ragged", 9)
    inputs = sample_inputs(graph, 16, 40, torch.float32)
    expected = target_attention_scores(*inputs[:3], *graph_part(graph), inputs[3])
    with torch.autocast("cpu", torch.bfloat16):
        assert_near(target_attention_scores(*inputs[:3], *graph_part(graph), inputs[3]), expected, 0.03)


class LargestOutput(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(options or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor) and not function.is_view:
                self.elements = max(self.elements, value.numel())
        return result


def test_nothing_of_size_sessions_items_hidden() -> None:
    """A training step and top-k make nothing larger than a chunk, or the table's gradient."""
    graph = sample_graph("285 clicks")
    items, hidden = 20000, 16
    inputs = [value.requires_grad_() for value in sample_inputs(graph, hidden, items, torch.float32)]
    with LargestOutput() as largest:
        losses = target_attention_cross_entropy(
            *inputs[:3], *graph_part(graph), inputs[3], torch.zeros(3, dtype=torch.int64)
        )
        losses.sum().backward()
        target_attention_topk(*inputs[:3], *graph_part(graph), inputs[3], 20)
    slots = graph.clicks.shape[0]
    assert largest.elements <= max(1 << 20, items * hidden) < slots * items
