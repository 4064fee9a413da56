"""Self-attention inside each session, forward and backward: native and plain PyTorch, dense over the batch."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import sample_model
from benchmarks.timing import training_step
from tagnn_fast import ops
from tagnn_fast.ops import reference

PEERS = {"native": ops.session_attention, "reference": reference.session_attention}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("sessions", [1, 100, 512])
def test_session_attention(benchmark: BenchmarkFixture, sessions: int, peer: str) -> None:
    benchmark.group = f"session attention, {sessions} sessions"
    model, graph, nodes = sample_model(sessions)
    layers = model.transformer.qkv, model.transformer.projection, model.transformer.norm
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    benchmark(training_step(lambda nodes: PEERS[peer](nodes, graph, *parameters, 2), nodes, parameters))
