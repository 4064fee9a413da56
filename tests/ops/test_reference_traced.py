"""What programs without the ops compute is what the definitions compute, without a size that depends on a value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagnn_fast.ops import reference, reference_traced
from tagnn_fast.ops.graph import SessionGraph
from tests.support import SESSIONS, batch


def assert_same_graph(items: torch.Tensor, offsets: torch.Tensor) -> None:
    traced, expected = reference_traced.session_graph(items, offsets), reference.session_graph(items, offsets)
    for name, value, wanted in zip(SessionGraph._fields, traced, expected, strict=True):
        assert torch.equal(value, wanted), name


@pytest.mark.parametrize("name", SESSIONS)
def test_session_graph(name: str) -> None:
    if (clicks := batch(SESSIONS[name]))[0].numel():  # exported programs have at least a click
        assert_same_graph(*clicks)


@given(
    items=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    offsets=st.lists(st.integers(-3, 25), min_size=1, max_size=8),
)
def test_session_graph_of_any_values(items: list[int], offsets: list[int]) -> None:
    """Offsets that fall or go beyond the clicks, clicks before and behind all sessions, unknown items."""
    assert_same_graph(torch.tensor(items), torch.tensor(offsets))


@given(offsets=st.lists(st.integers(-3, 25), min_size=1, max_size=8), count=st.integers(0, 25))
def test_owners(offsets: list[int], count: int) -> None:
    rising = reference.rising_offsets(torch.tensor(offsets), count)
    assert torch.equal(reference_traced.rising_offsets(torch.tensor(offsets), count), rising)
    assert torch.equal(reference_traced.owners(rising, count), reference.owners(rising, count))


@pytest.mark.parametrize("name", SESSIONS)
def test_neighbour_average(name: str) -> None:
    graph = SessionGraph(*reference.session_graph(*batch(SESSIONS[name])))
    rows = torch.randn(len(graph.node_items), 3, dtype=torch.float64)
    for lists in zip(graph.neighbour_start, graph.neighbour_count, graph.neighbours, strict=True):
        average = reference_traced.neighbour_average(rows, *lists)
        torch.testing.assert_close(average, reference.neighbour_average(rows, *lists), rtol=1e-12, atol=1e-12)
