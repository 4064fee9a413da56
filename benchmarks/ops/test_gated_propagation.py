"""One round of gated propagation, forward and backward: native and plain PyTorch."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import sample_model
from benchmarks.timing import training_step
from tagnn_fast import ops
from tagnn_fast.ops import reference

PEERS = {"native": ops.gated_propagation, "reference": reference.gated_propagation}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("sessions", [1, 100, 512])
def test_gated_propagation(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"gated propagation, {sessions} sessions"
    model, graph, nodes = sample_model(sessions)
    parameters = list(model.propagation.parameters())
    benchmark(training_step(lambda nodes: PEERS[peer](nodes, graph, *parameters), nodes, parameters))
