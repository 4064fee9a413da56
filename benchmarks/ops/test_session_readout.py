"""Soft-attention readout, forward and backward: native and plain PyTorch."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import sample_model
from benchmarks.timing import training_step
from tagnn_fast import ops
from tagnn_fast.ops import reference

PEERS = {"native": ops.session_readout, "reference": reference.session_readout}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("sessions", [1, 100, 512])
def test_session_readout(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"session readout, {sessions} sessions"
    model, graph, nodes = sample_model(sessions)
    readout = model.readout
    parameters = [*readout.query.parameters(), *readout.key.parameters(), readout.logit_weight]
    benchmark(training_step(lambda nodes: PEERS[peer](nodes, graph, *parameters)[0], nodes, parameters))
