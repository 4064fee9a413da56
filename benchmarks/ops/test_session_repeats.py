"""Places of repeated items, of one session of 4 clicks and of 512, natively and by the definition."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS
from tagnn_fast.ops import session_repeats
from tagnn_fast.ops.session_repeats import plain_session_repeats


@pytest.mark.parametrize("function", [session_repeats, plain_session_repeats])
@pytest.mark.parametrize("sessions", [1, 512])
def test_session_repeats(benchmark: BenchmarkFixture, sessions: int, function: object) -> None:
    items = torch.randint(1, ITEMS + 1, (4 * sessions,), generator=torch.Generator().manual_seed(0))
    benchmark(function, items, 4 * torch.arange(sessions + 1), 10, 4)
