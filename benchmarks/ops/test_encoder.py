"""From session graph to session vector, forward and backward, without the item table's gradient.

Native against dense PyTorch: nodes padded to the batch's largest graph, clicks to the length that the published code
pads to. Both get their graphs ready made, and go through the same eight batches in a call: how much padding there is
hangs on a batch's longest session.
"""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.inputs import ITEMS, PADDED_LENGTH, sample_batch, sample_prefixes
from benchmarks.peers.published import padded_encoder, padded_session_graphs
from benchmarks.timing import training_step
from tagnn_fast import TAGNNPP, ModelConfig

SIZES = [1, 100, 512]
BATCHES = 8


def make_model(semantics: str) -> TAGNNPP:
    torch.manual_seed(0)
    return TAGNNPP(ModelConfig(ITEMS, semantics=semantics, padded_length=PADDED_LENGTH)).train()


def encoder_parameters(model: TAGNNPP) -> list[Tensor]:
    modules = model.propagation, model.transformer, model.readout
    return [parameter for module in modules for parameter in module.parameters()]


def run_all(steps: list[Callable[[], None]]) -> None:
    for step in steps:
        step()


@pytest.mark.parametrize("semantics", ["clean", "published"])
@pytest.mark.parametrize("sessions", SIZES)
def test_native(benchmark: BenchmarkFixture, sessions: int, semantics: str) -> None:
    benchmark.group = f"encoder, 8 batches of {sessions} sessions"
    model = make_model(semantics)

    def step(seed: int) -> Callable[[], None]:
        graph = model.graph(*sample_batch(sessions, seed), None)

        def encode(nodes: Tensor) -> Tensor:
            nodes = model.propagation(nodes, graph)
            return model.readout(model.transformer(nodes, graph), graph)

        return training_step(encode, model.item_embedding(graph.node_items), encoder_parameters(model))

    benchmark(run_all, [step(seed) for seed in range(BATCHES)])


def padded_inputs(model: TAGNNPP, sessions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes, adjacency, alias and mask, dense."""
    arrays = padded_session_graphs(sample_prefixes(sessions, seed), PADDED_LENGTH)
    alias, adjacency, items, mask = map(torch.from_numpy, arrays)
    return model.item_embedding(items), adjacency.float(), alias, mask


@pytest.mark.parametrize("sessions", SIZES)
def test_padded(benchmark: BenchmarkFixture, sessions: int) -> None:
    benchmark.group = f"encoder, 8 batches of {sessions} sessions"
    model = make_model("published")

    def step(seed: int) -> Callable[[], None]:
        nodes, *rest = padded_inputs(model, sessions, seed)
        return training_step(
            lambda nodes: padded_encoder(model, nodes, *rest, 0.1)[0], nodes, encoder_parameters(model)
        )

    benchmark(run_all, [step(seed) for seed in range(BATCHES)])


def test_padded_peer_computes_the_same() -> None:
    """The peer is a fair one: same session vectors."""
    model = make_model("published").eval()
    graph = model.graph(*sample_batch(50), None)
    nodes, *rest = padded_inputs(model, 50)
    encoded = model.encode(*sample_batch(50)).session
    assert graph.num_nodes.max() == nodes.shape[1]
    torch.testing.assert_close(padded_encoder(model, nodes, *rest, 0.0)[0], encoded, rtol=0, atol=1e-5)
