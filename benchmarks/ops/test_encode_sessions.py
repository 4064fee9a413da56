"""The whole encoder without gradient: by one op, and by the ops that it takes the place of."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS, sample_batch
from tagnn_fast import TAGNNPP, ModelConfig


@pytest.mark.parametrize("peer", ["at once", "one after the other"])
@pytest.mark.parametrize("sessions", [1, 8, 100, 512])
def test_encode_sessions(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"encoding {sessions} sessions"
    model = TAGNNPP(ModelConfig(ITEMS)).eval().requires_grad_(False)
    batch = sample_batch(sessions)
    with torch.set_grad_enabled(peer != "at once"):  # parameters need none: only the way differs
        benchmark(lambda: model.encode(*batch))
