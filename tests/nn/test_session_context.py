"""What a session tells its nodes: neighbours of items by attention, a star node, counts of clicks and edges."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn.attention_enhanced import AttentionEnhancedGNN
from tagnn_fast.nn.edge_counts import with_edge_counts
from tagnn_fast.nn.neighbour_attention import DROPOUT, NeighbourAttention
from tagnn_fast.nn.node_counts import MOST, NodeCounts
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.star_node import StarNode
from tagnn_fast.ops import session_graph
from tagnn_fast.ops.graph import SessionGraph
from tagnn_fast.ops.library import plain_definitions
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


@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_edge_counts(name: str, padded_length: int | None) -> None:
    """Each node's neighbours as often as the edge occurs, in order; all else as it was."""
    items, offsets = batch(SESSIONS[name])
    graph = session_graph(torch.cat([items, torch.tensor([4, 0, 4])]), offsets, padded_length)
    counted = with_edge_counts(graph)
    for field in ("node_items", "click_counts", "click_nodes", "slot_offsets", "num_nodes", "last_node", "padding"):
        assert torch.equal(getattr(counted, field), getattr(graph, field))
    for name_of_row, value in (("neighbours", counted.neighbours), ("neighbour_start", counted.neighbour_start)):
        assert value.shape == getattr(graph, name_of_row).shape
    for number, session in enumerate(SESSIONS[name]):
        slot_of = {int(graph.node_items[slot]): slot for slot in nodes_of(graph, number)}
        edges = Counter(pairwise(slot_of[item] for item in session if item))
        for slot in nodes_of(graph, number):
            for row, this in enumerate(
                ({s: n for (s, d), n in edges.items() if d == slot}, {d: n for (s, d), n in edges.items() if s == slot})
            ):
                start, count = int(counted.neighbour_start[row, slot]), int(counted.neighbour_count[row, slot])
                assert counted.neighbours[row, start : start + count].tolist() == sorted(Counter(this).elements())


def test_propagation_with_edge_counts() -> None:
    """By the native op and by the definition; an edge that occurs twice weighs twice, there and in the gradient."""
    clicks = SessionBatch.from_lists([[1, 2, 1, 2, 3, 2], [4], [5, 6, 7]])
    network = make(TAGNN, edge_counts=True)
    propagation, plain = network.propagation, make(TAGNN).graph(*clicks, None)
    (vectors,) = random_tensors([(plain.node_items.shape[0], 8)], torch.float64, requires_grad=True)
    graph = network.graph(*clicks, None)
    found = propagation(vectors, graph)
    with plain_definitions():
        expected = propagation(vectors, network.graph(*clicks, None))
        assert_near(found.detach(), expected.detach(), 1e-12)
        (wanted,) = torch.autograd.grad(expected.square().sum(), vectors)
    (gradient,) = torch.autograd.grad(found.square().sum(), vectors)
    assert_near(gradient, wanted, 1e-11)
    nodes = found.detach()
    assert_near(nodes[6:], propagation(vectors, plain).detach()[6:], 1e-12)  # no edge twice: the same
    assert not torch.equal(nodes[1], propagation(vectors, plain).detach()[1])
    hidden, products = 8, vectors @ propagation.state_weight.T + propagation.state_bias
    sent_in, sent_out = products[:, :hidden], products[:, hidden : 2 * hidden]
    # Node 2 comes after 1 twice and after 3 once; 1 follows it once, 3 once.
    message = torch.cat([(2 * sent_in[0] + sent_in[2]) / 3, (sent_out[0] + sent_out[2]) / 2]) + propagation.message_bias
    gates = message @ propagation.weight_ih.T + propagation.bias_ih
    state = products[1, 2 * hidden :]
    reset, update = (torch.sigmoid(gates[s] + state[s]) for s in (slice(0, 8), slice(8, 16)))
    candidate = torch.tanh(gates[16:] + reset * state[16:])
    assert_near(nodes[1], (candidate + update * (vectors[1] - candidate)).detach(), 1e-12)


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


@pytest.mark.parametrize(
    "option", ["neighbour_attention", "repeats", "star", "click_counts", "edge_counts", "item_readout"]
)
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


@pytest.mark.parametrize("model", [TAGNNPP, TAGNN, SRGNN])
def test_second_readout(model: type[SessionModel]) -> None:
    """[pooled ; pooled by other weights ; last click], projected."""
    network = make(model, second_readout=True, hybrid=True)
    readout, clicks = network.readout, SessionBatch.from_lists(CLICKS)
    graph = network.graph(*clicks, None)
    (states,) = random_tensors([(graph.node_items.shape[0], 8)], torch.float64)
    pooled = []
    for weights in (readout, readout.second):
        alone = make(model).readout
        alone.load_state_dict({name: weights.state_dict()[name] for name in alone.state_dict()})
        pooled.append(alone(states, graph))
    expected = readout.projection(torch.cat([*pooled, states[graph.last_node]], 1))
    assert_near(readout(states, graph).detach(), expected.detach(), 1e-12)
    assert not torch.equal(pooled[0], pooled[1])


def test_a_second_readout_is_projected() -> None:
    with pytest.raises(ValueError, match="^second_readout: expected False without hybrid, got True$"):
        replace(CONFIG, second_readout=True)
    assert "second_readout" in AttentionEnhancedGNN.unused  # whose readout has no weights to pool by
