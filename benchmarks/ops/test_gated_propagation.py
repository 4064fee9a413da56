"""One round of gated propagation, forward and backward: native and plain PyTorch."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS, sample_batch
from benchmarks.timing import training_step
from tagnn_fast import TAGNNPP, ModelConfig, ops
from tagnn_fast.ops import reference

PEERS = {"native": ops.gated_propagation, "reference": reference.gated_propagation}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("sessions", [1, 100, 512])
def test_gated_propagation(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"gated propagation, {sessions} sessions"
    torch.manual_seed(0)
    model = TAGNNPP(ModelConfig(ITEMS))
    graph = model.graph(*sample_batch(sessions), None)
    parameters = list(model.propagation.parameters())
    nodes = model.item_embedding(graph.node_items)
    benchmark(training_step(lambda nodes: PEERS[peer](nodes, graph, *parameters), nodes, parameters))
