"""session_graph against its twin (exactly), a definition in Python lists, and the published graphs."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Optional

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import SessionGraph, reference, session_graph
from tests.ops import checks
from tests.support import DEVICES, PADDED_LENGTHS, ROOT, SESSIONS, batch

INT64 = st.integers(-(2**63), 2**63 - 1)


def neighbour_sets(graph: SessionGraph, direction: int, slot: int) -> list[int]:
    start, count = (int(values[direction, slot]) for values in (graph.neighbour_start, graph.neighbour_count))
    return graph.neighbours[direction, start : start + count].tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("padded_length", PADDED_LENGTHS)
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(name: str, padded_length: int | None, device: str) -> None:
    items, offsets = (value.to(device) for value in batch(SESSIONS[name]))
    actual = session_graph(items, offsets, padded_length)
    for field, value, expected in zip(
        SessionGraph._fields, actual, reference.session_graph(items, offsets, padded_length), strict=True
    ):
        assert torch.equal(value, expected), field


@pytest.mark.parametrize("padded_length", PADDED_LENGTHS)
@pytest.mark.parametrize("name", SESSIONS)
def test_definition(name: str, padded_length: int | None) -> None:
    graph = session_graph(*batch(SESSIONS[name]), padded_length)
    for number, session in enumerate(SESSIONS[name]):
        clicks = [item for item in session if item != 0]
        padding = max(0, padded_length - len(clicks)) if padded_length is not None and clicks else 0
        nodes = list(dict.fromkeys(clicks)) if padded_length is None else sorted(set(clicks))
        nodes = [0, *nodes] if padding else nodes
        first = int(graph.slot_offsets[number])
        assert graph.num_nodes[number] == len(nodes)
        assert graph.padding[number] == padding
        assert graph.node_items[first : first + len(nodes)].tolist() == nodes
        assert graph.last_node[number] == (first + nodes.index(clicks[-1]) if clicks else -1)
        edges = set(pairwise(clicks))
        for index, item in enumerate(nodes):
            assert graph.click_counts[first + index] == clicks.count(item)
            senders = sorted(first + nodes.index(sender) for sender, receiver in edges if receiver == item)
            receivers = sorted(first + nodes.index(receiver) for sender, receiver in edges if sender == item)
            assert neighbour_sets(graph, 0, first + index) == senders
            assert neighbour_sets(graph, 1, first + index) == receivers


@pytest.mark.parametrize("name", ["tagnn_pp_nonhybrid", "tagnn_pp_three_steps", "sr_gnn_hybrid"])
def test_published_graphs(name: str) -> None:
    golden = np.load(ROOT / "tests" / "goldens" / f"{name}.npz")
    items, offsets = (torch.from_numpy(golden[f"sessions/{key}"]) for key in ("values", "offsets"))
    graph = session_graph(items, offsets, int(golden["sessions/len_max"]))
    most = golden["graph/items"].shape[1]
    for session, (first, nodes) in enumerate(zip(graph.slot_offsets.tolist(), graph.num_nodes.tolist(), strict=False)):
        assert graph.node_items[first : first + nodes].tolist() == golden["graph/items"][session, :nodes].tolist()
        begin, end = offsets[session : session + 2].tolist()
        local = (graph.click_nodes[begin:end] - first).tolist()
        assert local == golden["graph/alias"][session, : end - begin].tolist()
        for direction in (0, 1):
            block = golden["graph/adjacency"][session, :, direction * most : (direction + 1) * most]
            adjacency = np.zeros((most, most))
            for slot in range(nodes):
                neighbours = [neighbour - first for neighbour in neighbour_sets(graph, direction, first + slot)]
                adjacency[slot, neighbours] = 1 / max(1, len(neighbours))
            np.testing.assert_allclose(adjacency, block, rtol=0, atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(
    items=st.lists(st.one_of(st.integers(-2, 5), INT64), max_size=40),
    offsets=st.lists(st.one_of(st.integers(-3, 45), INT64), min_size=1, max_size=9),
    padded_length=st.one_of(st.none(), st.integers(0, 50), st.just(2**62)),
)
@pytest.mark.parametrize("device", DEVICES)
def test_any_values(items: list[int], offsets: list[int], padded_length: int | None, device: str) -> None:
    clicks = tuple(torch.tensor(values, dtype=torch.int64, device=device) for values in (items, offsets))
    actual = session_graph(*clicks, padded_length)
    for value, expected in zip(actual, reference.session_graph(*clicks, padded_length), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("magnitude", [2**8, 2**20, 2**63 - 1])
@pytest.mark.parametrize("device", DEVICES)
def test_long_sessions_of_any_items(magnitude: int, device: str) -> None:
    """Sorting goes by bytes: small and huge items, negative ones too."""
    items = torch.randint(-magnitude, magnitude, (900,), generator=torch.Generator().manual_seed(0))
    clicks = items.to(device), torch.tensor([0, 300, 400, 900], device=device)
    for value, expected in zip(session_graph(*clicks, 69), reference.session_graph(*clicks, 69), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    clicks = torch.randint(0, 50, (20000,), generator=generator)
    offsets = torch.randint(0, 20001, (4000,), generator=generator).sort().values
    expected = session_graph(clicks, offsets, 9)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = session_graph(clicks, offsets, 9)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(value, reference) for value, reference in zip(actual, expected, strict=True))


@pytest.mark.parametrize("name", ["ragged", "skipped clicks", "empty batch"])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(name: str, padded_length: int | None, device: str) -> None:
    torch.library.opcheck(
        torch.ops.tagnn_fast.session_graph.default,
        (*(value.to(device) for value in batch(SESSIONS[name])), padded_length),
    )


@torch.jit.script
def scripted(items: Tensor, offsets: Tensor, padded_length: Optional[int]) -> SessionGraph:
    return session_graph(items, offsets, padded_length)


@pytest.mark.parametrize("padded_length", [None, 5])
def test_script(padded_length: int | None) -> None:
    clicks = batch(SESSIONS["ragged"])
    actual = checks.script_round_trip(scripted)(*clicks, padded_length)
    checks.assert_equal_outputs(actual, session_graph(*clicks, padded_length))


class Graph(torch.nn.Module):
    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
        return tuple(session_graph(items, offsets, 5))


def test_export() -> None:
    clicks, sessions = torch.export.Dim("clicks", min=2), torch.export.Dim("sessions", min=3)
    program = torch.export.export(Graph(), batch(SESSIONS["ragged"]), dynamic_shapes=({0: clicks}, {0: sessions}))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    other = batch(SESSIONS["285 clicks"])
    for actual, expected in zip(torch.export.load(buffer).module()(*other), Graph()(*other), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_strided_input(device: str) -> None:
    items, offsets = (value.to(device) for value in batch(SESSIONS["ragged"]))
    actual = session_graph(items.repeat_interleave(2)[::2], offsets.repeat_interleave(2)[::2])
    assert torch.equal(actual.neighbours, session_graph(items, offsets).neighbours)


@pytest.mark.parametrize(
    ("items", "offsets", "padded_length", "message"),
    [
        (torch.zeros(3), torch.zeros(2).long(), None, "items: expected int64 (any,) on the CPU, got float32 (3,)"),
        (torch.zeros(3, 1).long(), torch.zeros(2).long(), None, "items: expected int64 (any,) on the CPU, got int64"),
        (torch.zeros(3).long(), torch.zeros(2).int(), None, "offsets: expected int64 (any,) on the CPU, got int32"),
        (torch.zeros(3).long(), torch.zeros(0).long(), None, "offsets: expected at least one value, got 0"),
        (torch.zeros(3).long(), torch.zeros(2).long(), -1, "padded_length: expected 0 or more, got -1"),
        (torch.zeros(3).long(), torch.zeros(2).long(), -12345678, "got -12345678"),
    ],
)
def test_errors(items: Tensor, offsets: Tensor, padded_length: int | None, message: str) -> None:
    with pytest.raises(RuntimeError) as error:
        session_graph(items, offsets, padded_length)
    assert message in str(error.value)
