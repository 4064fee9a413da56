"""What a session tells its nodes: neighbours of items by attention, a star node, click counts; click by click."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn.attention_enhanced import AttentionEnhancedGNN
from tagnn_fast.nn.neighbour_attention import DROPOUT, NeighbourAttention
from tagnn_fast.nn.node_counts import MOST, NodeCounts
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.star_node import StarNode
from tagnn_fast.ops import session_graph
from tagnn_fast.ops.graph import SessionGraph
from tests.support import SESSIONS, assert_near, batch, random_sessions, random_tensors

CONFIG = ModelConfig(num_items=30, hidden_size=8)
CLICKS = [[3, 9, 3], [5], *random_sessions((7, 1, 12, 2, 25), items=28), [29]]  # 29 has no neighbours


def make(model: type[SessionModel] = TAGNNPP, **options: Any) -> SessionModel:
    torch.manual_seed(0)
    network = model(replace(CONFIG, **options)).double().eval()
    network.learn_neighbours(*SessionBatch.from_lists(CLICKS))
    return network


def nodes_of(graph: SessionGraph, session: int) -> range:
    first = int(graph.slot_offsets[session])
    return range(first, first + int(graph.num_nodes[session]))


@pytest.mark.parametrize("options", [{}, {"cosine_scale": 12.0}, {"neighbour_weight": 0.5}], ids=str)
def test_neighbour_attention(options: dict[str, Any]) -> None:
    network = make(neighbour_attention=True, **options)
    attention, vectors = network.neighbour_attention, torch.cat([torch.zeros(1, 8), network.item_vectors()])
    assert attention is not None
    graph = network.graph(*SessionBatch.from_lists(CLICKS), None)
    found = network.node_vectors(graph)
    for number, session in enumerate(CLICKS):
        mean = vectors[session].mean(0)
        for slot in nodes_of(graph, number):
            item = int(graph.node_items[slot])
            pairs = [
                (vectors[other], share)
                for other, share in zip(attention.items[item].tolist(), attention.shares[item].tolist(), strict=True)
                if share
            ]
            assert bool(pairs) == (item != 29)
            around = torch.zeros(8, dtype=torch.float64)
            if pairs:
                inner = [attention.product(mean * vector) + share * attention.share_weight for vector, share in pairs]
                logits = [(torch.where(value > 0, value, 0.2 * value) @ attention.logit_weight) for value in inner]
                weights = torch.stack(logits).softmax(0)
                around = sum(weight * vector for weight, (vector, _) in zip(weights, pairs, strict=True))  # type: ignore[assignment]
            told = torch.relu(attention.output(torch.cat([vectors[item], around])))
            assert_near(found[slot].detach(), (vectors[item] + told).detach(), 1e-12)


def test_neighbour_attention_drops_in_training() -> None:
    network = make(neighbour_attention=True)
    graph = network.graph(*SessionBatch.from_lists(CLICKS), None)
    plain = network.item_embedding(graph.node_items)
    told = network.node_vectors(graph) - plain
    dropped = network.train().node_vectors(graph) - plain
    assert_near(torch.where(dropped == 0, told, dropped * (1 - DROPOUT)), told, 1e-12)
    assert 0.3 < float((dropped[told > 0] == 0).double().mean()) < 0.7


def test_a_settled_network_has_its_neighbours() -> None:
    clicks = SessionBatch.from_lists(CLICKS)
    for options in ({}, {"cosine_scale": 12.0}, {"cosine_scale": 12.0, "neighbour_weight": 0.5}):
        network = make(neighbour_attention=True, **options)
        assert_near(network.settled()(*clicks).detach(), network(*clicks).detach(), 1e-12)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("model", [TAGNN, SRGNN])
def test_star(model: type[SessionModel], rounds: int) -> None:
    network = make(model, star=True, rounds=rounds)
    propagation = network.propagation
    assert isinstance(propagation.star, StarNode)
    star, graph = propagation.star, network.graph(*SessionBatch.from_lists(CLICKS), None)
    vectors = network.node_vectors(graph)
    found = propagation(vectors, graph)
    states = vectors.clone()
    stars = [vectors[list(nodes_of(graph, number))].mean(0) for number in range(len(CLICKS))]
    plain = make(model, rounds=1).propagation
    plain.load_state_dict(propagation.state_dict(), strict=False)
    for last in [False] * (rounds - 1) + [True]:
        states = plain(states, graph)
        for number, centre in enumerate(stars):
            nodes = list(nodes_of(graph, number))
            mixed = []
            for state in states[nodes]:
                share = torch.sigmoid(star.gate_node(state) @ star.gate_star(centre) / 8**0.5)
                mixed.append((1 - share) * state + share * centre)
            states[nodes] = torch.stack(mixed)
            if last:
                continue
            assert star.key is not None
            assert star.query is not None
            logits = torch.stack([star.key(state) @ star.query(centre) / 8**0.5 for state in mixed])
            stars[number] = logits.softmax(0) @ torch.stack(mixed)
    for number in range(len(CLICKS)):
        nodes = list(nodes_of(graph, number))
        assert_near(found[nodes].detach(), states[nodes].detach(), 1e-11)


@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_any_sessions(name: str, padded_length: int | None) -> None:
    """Empty ones, skipped clicks, and clicks behind the last; counts of clicks up to the most there are."""
    torch.manual_seed(0)
    items, offsets = batch(SESSIONS[name])
    graph = session_graph(torch.cat([items, torch.tensor([4, 0, 4])]), offsets, padded_length)
    vectors, around = torch.randn(graph.node_items.shape[0], 8), torch.randn(graph.node_items.shape[0], 12, 8)
    attention = NeighbourAttention(int(graph.node_items.max()) if items.numel() else 1, 8)
    assert bool(attention(vectors, around, graph).isfinite().all())
    star = StarNode(8)
    begun = star.begin(vectors, graph)
    assert bool(star(vectors, begun, graph).isfinite().all())
    assert bool(star.move(vectors, begun, graph).isfinite().all())
    counts = NodeCounts(8)
    found = counts(graph)
    for number, session in enumerate(SESSIONS[name]):
        for slot in nodes_of(graph, number):
            if item := int(graph.node_items[slot]):
                assert torch.equal(found[slot], counts.embedding.weight[min(session.count(item), MOST) - 1])


def test_click_counts_are_added_to_nodes() -> None:
    network, clicks = make(TAGNN, click_counts=True, recency="nodes"), SessionBatch.from_lists(CLICKS)
    graph = network.graph(*clicks, None)
    states = torch.zeros(graph.node_items.shape[0], 8, dtype=torch.float64)
    assert network.click_counts is not None
    assert network.recency is not None
    expected = network.click_counts(graph) + network.recency(graph)
    assert_near(network.with_recency(states, graph, "nodes").detach(), expected.detach(), 1e-12)
    assert torch.equal(network.with_recency(states, graph, "readout"), states)


def test_gradients() -> None:
    torch.manual_seed(0)
    graph = session_graph(*batch([[1, 2, 1], [3], [], [2, 4, 5, 2]]), None)
    slots = graph.node_items.shape[0]
    shapes: list[tuple[int, ...]] = [(slots, 4), (slots, 12, 4), (4, 4)]
    vectors, around, stars = random_tensors(shapes, torch.float64, requires_grad=True)
    attention = NeighbourAttention(5, 4).double().eval()
    attention.learn(*batch([[1, 2, 3], [2, 4]]))
    assert torch.autograd.gradcheck(lambda v, a: attention(v, a, graph), (vectors, around))
    star = StarNode(4).double()
    assert torch.autograd.gradcheck(lambda v, s: star(v, s, graph), (vectors, stars))
    assert torch.autograd.gradcheck(lambda v, s: star.move(v, s, graph), (vectors, stars))
    assert torch.autograd.gradcheck(lambda v: star.begin(v, graph), (vectors,))


@pytest.mark.parametrize("option", ["neighbour_attention", "repeats", "star", "click_counts", "item_readout"])
def test_errors(option: str) -> None:
    with pytest.raises(TypeError, match=f"^{option}: expected True or False, got 1$"):
        replace(CONFIG, **{option: 1})

    class Own(SessionModel):
        def encode(self, items: Tensor, offsets: Tensor, padded_length: int | None = None) -> Any: ...

    if option == "repeats":
        assert Own(replace(CONFIG, repeats=True)).repeats is not None  # whatever its encode does
        return
    with pytest.raises(ValueError, match=f"^{option}: expected none with a network that does not use it, got True$"):
        Own(replace(CONFIG, **{option: True}))


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("model", [TAGNNPP, TAGNN, SRGNN])
def test_item_readout(model: type[SessionModel], softmax: bool) -> None:
    """The readout's weights, of item vectors."""
    network = make(model, item_readout=True, readout_softmax=softmax, cosine_scale=12.0)
    network.cosine = None  # session vectors as they are
    plain = make(model, readout_softmax=softmax, cosine_scale=12.0)
    plain.load_state_dict(network.state_dict())
    plain.cosine = None
    clicks = SessionBatch.from_lists(CLICKS)
    graph, seen = network.graph(*clicks, None), []
    network.is_settled = plain.is_settled = True  # and item vectors too
    hook = network.readout.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    found = network.encode(*clicks).session
    hook.remove()
    states, _, vectors = seen[0]
    assert torch.equal(vectors, network.item_embedding(graph.node_items))
    for number, (begin, end) in enumerate(zip(clicks.offsets, clicks.offsets[1:], strict=False)):
        nodes = graph.click_nodes[begin:end]
        readout = network.readout
        inner = torch.sigmoid(readout.query(states[nodes[-1]]) + readout.key(states[nodes]))
        weights = inner @ readout.logit_weight
        weights = weights.softmax(0) if softmax else weights
        assert_near(found[number].detach(), (weights @ vectors[nodes]).detach(), 1e-12)
    assert torch.jit.script(network)(*clicks).shape == (len(CLICKS), 30)
    network.losses(*clicks, torch.ones(len(CLICKS), dtype=torch.int64)).sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters() if value.grad is not None)
    empty = network.encode(*batch([[], [0, 4], [0]])).session
    assert not bool(empty[::2].any())


def test_where_items_are_not_pooled() -> None:
    for given, what in (
        ({"hybrid": True}, "hybrid"),
        ({"semantics": "published", "padded_length": 5}, "published semantics"),
    ):
        with pytest.raises(ValueError, match=f"^item_readout: expected False with {what}, got True$"):
            replace(CONFIG, item_readout=True, **given)
    with pytest.raises(ValueError, match="^item_readout: expected none with a network that does not use it, got True$"):
        AttentionEnhancedGNN(replace(CONFIG, item_readout=True))
