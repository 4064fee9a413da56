"""What recipes may add to the networks, each held against its formula in float64."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn.cosine_scale import CosineScale
from tagnn_fast.nn.global_neighbours import NEIGHBOURS, WINDOW, GlobalNeighbours, most_common_neighbours
from tagnn_fast.nn.highway_gate import HighwayGate
from tagnn_fast.nn.node_recency import PLACES
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.unit_rows import unit_rows
from tagnn_fast.ops import encoded_without_nodes, session_graph
from tagnn_fast.ops.graph import places_from_the_end
from tests.support import SESSIONS, assert_near, batch, random_sessions, random_tensors

MODELS = [TAGNNPP, TAGNN, SRGNN]
CONFIG = ModelConfig(num_items=30, hidden_size=8)
CLICKS = [[3, 9, 3], [5], *random_sessions((7, 1, 12, 2, 25), items=30)]


def make(model: type[SessionModel] = TAGNNPP, **options: Any) -> SessionModel:
    torch.manual_seed(0)
    network = model(replace(CONFIG, **options)).double().eval()
    network.learn_neighbours(*SessionBatch.from_lists(CLICKS))
    return network


def plain_scores(network: SessionModel) -> torch.Tensor:
    """Of CLICKS, from encode's vectors before they are scaled, click by click."""
    config, sessions = network.config, SessionBatch.from_lists(CLICKS)
    cosine, network.cosine = network.cosine, None
    weight = network.item_embedding.weight
    with torch.no_grad():
        network.item_embedding.weight.copy_(weight / weight.norm(dim=1, keepdim=True))
    encoded, graph = network.encode(*sessions), network.graph(*sessions, None)
    network.cosine, table = cosine, network.item_embedding.weight[1:]
    scale, share = config.cosine_scale, config.session_share
    lines = []
    for number, (begin, end) in enumerate(zip(sessions.offsets, sessions.offsets[1:], strict=False)):
        session = encoded.session[number]
        if isinstance(network, SRGNN):
            lines.append(scale * (session / session.norm()) @ table.T)
            continue
        nodes = graph.click_nodes[begin:end]
        keys, values = encoded.keys[nodes], encoded.values[nodes]
        weights = (keys @ table.T).softmax(0)  # (clicks, items)
        attention = weights * (values / values.norm(dim=1, keepdim=True) @ table.T)
        lines.append(scale * (share * (session / session.norm()) @ table.T + (1 - share) * attention.sum(0)))
    return torch.stack(lines)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_cosine_scores(model: type[SessionModel], share: float) -> None:
    network = make(model, cosine_scale=12.0, **({} if model is SRGNN else {"session_share": share}))
    scores = network(*SessionBatch.from_lists(CLICKS))
    assert float(scores.detach().abs().max()) <= 12
    torch.testing.assert_close(scores, plain_scores(network), rtol=1e-10, atol=1e-10)


def test_learned_scale_and_share() -> None:
    """They begin with the options' values, and are what scores are made with."""
    fixed = make(cosine_scale=10.0, session_share=0.3)
    learned = make(cosine_scale=10.0, session_share=0.3, learned_scale=True, learned_share=True)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    clicks = SessionBatch.from_lists(CLICKS)
    assert_near(learned(*clicks), fixed(*clicks), 1e-6)
    assert learned.cosine is not None
    with torch.no_grad():
        learned.cosine.log_scale += 0.5
    assert_near(learned(*clicks), fixed(*clicks) * torch.tensor(0.5).exp(), 1e-6)
    learned.loss(*clicks, torch.ones(len(CLICKS), dtype=torch.int64)).backward()
    for name in ("log_scale", "share_logit"):
        assert float(learned.cosine.get_parameter(name).grad.abs()) > 0


def test_gradients() -> None:
    vectors, states = random_tensors([(5, 4), (5, 4)], torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, (vectors,))
    assert torch.autograd.gradcheck(HighwayGate(4).double(), (vectors, states))
    scale = CosineScale(3.0, True, 0.4, True).double()
    assert torch.autograd.gradcheck(lambda session: scale(encoded_without_nodes(session)).session, (vectors,))
    neighbours = GlobalNeighbours(4, 0.7).double()
    neighbours.learn(*SessionBatch.from_lists([[1, 2, 3], [2, 4]]))
    assert torch.autograd.gradcheck(neighbours, (vectors,))
    assert torch.autograd.gradcheck(lambda table: neighbours(table, torch.tensor([2, 0, 2, 4])), (vectors,))


def test_unit_rows() -> None:
    """As PyTorch has it, gradient included, zeros and short rows too."""
    (vectors,) = random_tensors([(9, 7)], torch.float64)
    vectors[2], vectors[4] = 0, vectors[4] * 1e-9
    (gradient,) = random_tensors([(9, 7)], torch.float64)
    results = []
    for function in (unit_rows, lambda rows: torch.nn.functional.normalize(rows, dim=1, eps=1e-6)):
        leaf = vectors.clone().requires_grad_()
        value = function(leaf)
        value.backward(gradient)
        results.append([value.detach(), leaf.grad])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    assert unit_rows(vectors[:0].requires_grad_()).shape == (0, 7)


@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_recency(name: str, padded_length: int | None) -> None:
    """Known clicks after a node's last one; skipped clicks and those behind the last session do not count."""
    items, offsets = batch(SESSIONS[name])
    items = torch.cat([items, torch.tensor([4, 0, 4])])
    graph = session_graph(items, offsets, padded_length)
    places = places_from_the_end(graph, PLACES)
    assert places.shape == graph.node_items.shape
    for number, session in enumerate(SESSIONS[name]):
        known = [item for item in session if item]
        first = int(graph.slot_offsets[number])
        for slot in range(first, first + int(graph.num_nodes[number])):
            if (item := int(graph.node_items[slot])) == 0:
                continue  # the padding node
            assert int(places[slot]) == min(known[::-1].index(item), PLACES - 1)


def test_where_recency_is_added() -> None:
    """To all that follows propagation, or to what the readout takes alone."""
    clicks = SessionBatch.from_lists(CLICKS)
    plain, nodes, readout = (make(recency=place) for place in ("none", "nodes", "readout"))
    for network in (nodes, readout):
        network.load_state_dict(plain.state_dict(), strict=False)
    before, everywhere, late = (network.encode(*clicks) for network in (plain, nodes, readout))
    assert not torch.allclose(everywhere.values, before.values)
    assert torch.equal(late.values, before.values)
    assert not torch.allclose(late.session, before.session)


def test_readout_softmax() -> None:
    """SR-GNN's readout in TAGNN, and the other way round."""
    clicks = SessionBatch.from_lists(CLICKS)
    softmax, plain = make(TAGNN), make(SRGNN)
    for network, other in ((softmax, make(SRGNN, readout_softmax=True)), (plain, make(TAGNN, readout_softmax=False))):
        other.load_state_dict(network.state_dict(), strict=False)
        torch.testing.assert_close(other.encode(*clicks).session, network.encode(*clicks).session)


def test_item_dropout() -> None:
    """Of items that enter the encoder, in training alone, before they are brought to length 1."""
    network, clicks = make(item_dropout=0.5, cosine_scale=4.0), SessionBatch.from_lists(CLICKS)
    graph = network.graph(*clicks, None)
    plain = network.node_vectors(graph)
    dropped = network.train().node_vectors(graph)
    left = (dropped != 0).any(1)  # of few numbers, all may be dropped
    torch.testing.assert_close(dropped.norm(dim=1), left.double())
    assert 0.3 < float((dropped == 0).double().mean()) < 0.7
    ratio = torch.where(dropped == 0, torch.nan, dropped / plain)[left]
    torch.testing.assert_close(ratio.nan_to_num(nan=0).amax(1), ratio.nanmean(1))
    assert torch.equal(network.eval().node_vectors(graph), plain)


@settings(max_examples=40, deadline=None)
@given(sessions=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=8), spread=st.integers(1, 30))
def test_neighbours(sessions: list[list[int]], spread: int) -> None:
    """Counted in plain Python."""
    sessions = [[item * (spread if item % 2 else 1) for item in session] for session in sessions]
    counts: dict[int, Counter[int]] = {item: Counter() for item in range(300)}
    for session in sessions:
        for place, item in enumerate(session):
            for other in session[max(0, place - WINDOW) : place] + session[place + 1 : place + 1 + WINDOW]:
                if item and other and item != other:
                    counts[item][other] += 1
    items, shares = most_common_neighbours(*batch(sessions), 300)
    for item, row in counts.items():
        best = sorted(row.items(), key=lambda pair: (-pair[1], pair[0]))[:NEIGHBOURS]
        total = sum(count for _, count in best)
        expected = {other: count / total for other, count in best}
        found = {
            other: share for other, share in zip(items[item].tolist(), shares[item].tolist(), strict=True) if share
        }
        assert found == pytest.approx(expected)
        assert list(found) == list(expected)


def test_neighbours_lend_their_vectors() -> None:
    """V + λ A V, to what enters the encoder and to what is scored."""
    network, clicks = make(neighbour_weight=0.5), SessionBatch.from_lists(CLICKS)
    assert network.neighbours is not None
    matrix = torch.zeros(31, 31, dtype=torch.float64)
    for item, (others, shares) in enumerate(zip(network.neighbours.items, network.neighbours.shares, strict=True)):
        matrix[item].index_add_(0, others, shares)
    weight = network.item_embedding.weight
    expected = weight + 0.5 * matrix @ weight
    torch.testing.assert_close(network.item_vectors(), expected[1:])
    graph = network.graph(*clicks, None)
    torch.testing.assert_close(network.node_vectors(graph), expected[graph.node_items])


@pytest.mark.parametrize("options", [{"cosine_scale": 9.0}, {"neighbour_weight": 0.5}, {}], ids=str)
def test_settled(options: dict[str, Any]) -> None:
    """The same answers, from item vectors that are made once; the model itself stays as it is."""
    network, clicks = make(**options), SessionBatch.from_lists(CLICKS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settled = network.settled()
    assert (settled is network) == (not options)
    assert settled.item_vectors().data_ptr() == settled.item_embedding.weight[1:].data_ptr()
    expected = network(*clicks).detach()
    assert_near(settled(*clicks).detach(), expected, 1e-12)
    with torch.no_grad():  # encoded at once
        assert_near(settled(*clicks), expected, 1e-12)
        assert_near(network(*clicks), expected, 1e-12)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.requires_grad_()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"cosine_scale": -1.0}, ValueError, "cosine_scale: expected a finite number of 0 and more, or None, got -1.0"),
        ({"cosine_scale": "x"}, TypeError, "cosine_scale: expected a float, got 'x'"),
        ({"learned_scale": True}, ValueError, "learned_scale: expected False without a cosine_scale, got True"),
        ({"session_share": 1.5}, ValueError, "session_share: expected a number from 0 to 1, got 1.5"),
        (
            {"session_share": 1, "learned_share": True, "cosine_scale": 1.0},
            ValueError,
            "session_share: expected a number between 0 and 1, got 1.0",
        ),
        ({"item_dropout": 1.0}, ValueError, "item_dropout: expected a rate in [0, 1), got 1.0"),
        ({"recency": "last"}, ValueError, "recency: expected one of none, nodes, readout, got 'last'"),
        ({"highway": 1}, TypeError, "highway: expected True or False, got 1"),
        ({"readout_softmax": 1}, TypeError, "readout_softmax: expected True or False, got 1"),
        (
            {"neighbour_weight": -1.0},
            ValueError,
            "neighbour_weight: expected a finite number of 0 and more, got -1.0",
        ),
    ],
)
def test_errors(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        replace(CONFIG, **options)
    assert str(error.value) == message


def test_no_cosines() -> None:
    """Where None is not given, as on the command line."""
    assert replace(CONFIG, cosine_scale=0) == replace(CONFIG, cosine_scale=None)


def test_networks_that_do_not_see_to_them() -> None:
    """One of one's own that says nothing would score unit item vectors by vectors of any length."""

    class Own(SessionModel):
        pass

    Own(CONFIG)
    with pytest.raises(ValueError, match="^cosine_scale: expected none with a network that does not use it, got 9.0$"):
        Own(replace(CONFIG, cosine_scale=9.0))
    with pytest.raises(ValueError, match="^session_share: expected none with a network that does not use it, got 0.4$"):
        SRGNN(replace(CONFIG, cosine_scale=9.0, session_share=0.4))
