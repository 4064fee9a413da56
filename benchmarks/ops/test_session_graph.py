"""Session graphs: native, in vectorised PyTorch, and in NumPy as the published code builds them."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import PADDED_LENGTH, sample_batch, sample_prefixes
from benchmarks.peers.published import padded_session_graphs
from tagnn_fast import SessionBatch
from tagnn_fast.ops import reference, session_graph

SIZES = [1, 100, 512]
SEMANTICS = [None, PADDED_LENGTH]


@pytest.mark.parametrize("padded_length", SEMANTICS, ids=["clean", "published"])
@pytest.mark.parametrize("sessions", SIZES)
def test_native(benchmark: BenchmarkFixture, sessions: int, padded_length: int | None) -> None:
    benchmark.group = f"session graph, {sessions} sessions"
    benchmark(session_graph, *sample_batch(sessions), padded_length)


@pytest.mark.parametrize("sessions", SIZES)
def test_reference(benchmark: BenchmarkFixture, sessions: int) -> None:
    benchmark.group = f"session graph, {sessions} sessions"
    benchmark(reference.session_graph, *sample_batch(sessions), PADDED_LENGTH)


@pytest.mark.parametrize("sessions", SIZES)
def test_published(benchmark: BenchmarkFixture, sessions: int) -> None:
    benchmark.group = f"session graph, {sessions} sessions"
    benchmark(padded_session_graphs, sample_prefixes(sessions), PADDED_LENGTH)


@pytest.mark.parametrize("padded_length", [*SEMANTICS, 285], ids=["clean", "published", "published, padded"])
@pytest.mark.parametrize("distinct", [60, 43097], ids=["many repeats", "few repeats"])
def test_long_sessions(benchmark: BenchmarkFixture, distinct: int, padded_length: int | None) -> None:
    """8 sessions of 285 clicks: about as many clicks as 512 prefixes have."""
    benchmark.group = "session graph, 285 clicks a session"
    items = torch.randint(1, distinct + 1, (8 * 285,), generator=torch.Generator().manual_seed(0))
    batch = SessionBatch(items, torch.arange(0, items.numel() + 1, 285))
    benchmark(session_graph, *batch, padded_length)
