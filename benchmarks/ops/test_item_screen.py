"""Making a table's item screen, and the lists of one session of 4 nodes with and without it."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS
from tagnn_fast import ops
from tagnn_fast.ops import encoded_sessions, session_graph

HIDDEN = 100


def test_item_screen(benchmark: BenchmarkFixture) -> None:
    benchmark(ops.item_screen, torch.randn(ITEMS, HIDDEN))


@pytest.mark.parametrize("screened", [False, True])
def test_topk(benchmark: BenchmarkFixture, screened: bool) -> None:
    torch.manual_seed(0)
    graph = session_graph(torch.arange(1, 5), torch.tensor([0, 4]))
    session, keys, values, table = (torch.randn(rows, HIDDEN) for rows in (1, 4, 4, ITEMS))
    encoded = encoded_sessions(session, 10 * keys, values, graph)  # attention as sharp as of trained weights
    screen = ops.item_screen(table) if screened else None
    benchmark(lambda: ops.target_attention_topk(encoded, table, 20, screen=screen))
