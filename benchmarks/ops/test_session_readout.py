"""Soft-attention readout, forward and backward: native and plain PyTorch."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS, sample_batch
from benchmarks.timing import training_step
from tagnn_fast import TAGNNPP, ModelConfig, ops
from tagnn_fast.ops import reference

PEERS = {"native": ops.session_readout, "reference": reference.session_readout}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("sessions", [1, 100, 512])
def test_session_readout(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"session readout, {sessions} sessions"
    torch.manual_seed(0)
    model = TAGNNPP(ModelConfig(ITEMS))
    graph = model.graph(*sample_batch(sessions), None)
    readout = model.readout
    parameters = [*readout.query.parameters(), *readout.key.parameters(), readout.logit_weight]
    nodes = model.item_embedding(graph.node_items)
    benchmark(training_step(lambda nodes: PEERS[peer](nodes, graph, *parameters)[0], nodes, parameters))
