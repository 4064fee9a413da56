"""Blends against their definition, written out in NumPy: shares, their weighted sum, ties, what is left out."""

from __future__ import annotations

from typing import Optional
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tagnn_fast import SRGNN, TAGNNPP, ModelConfig
from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import Sessions
from tagnn_fast.nn.blend import BlendRanker, best_by_popularity
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.ranking import RankedRows
from tests.baselines import plain
from tests.baselines.cases import Case, cases, fitted
from tests.ops.checks import assert_equal_outputs, script_round_trip
from tests.support import batch, random_sessions

WEIGHTS = st.sampled_from([0.0, 0.05, 0.4, 0.75, 1.0])


def network(items: int, seed: int = 0, kind: type[TAGNNPP | SRGNN] = TAGNNPP) -> TAGNNPP | SRGNN:
    """In float64, with scores far from 0."""
    torch.manual_seed(seed)
    model = kind(ModelConfig(items, hidden_size=4)).double().eval()
    with torch.no_grad():
        model.item_embedding.weight.mul_(4)
    return model


def blended(members: list[nn.Module], weights: list[float], counts: Tensor) -> BlendRanker:
    popular = counts.argsort(descending=True, stable=True)
    rankers = [NetworkRanker(one, counts, popular) if isinstance(one, (TAGNNPP, SRGNN)) else one for one in members]
    return BlendRanker(ModelConfig(len(counts)), rankers, weights, counts, popular)


def best(
    ranker: BlendRanker, sessions: list[list[int]], k: int, candidates: list[int] | None, clicked: bool, left: list[int]
) -> RankedRows:
    items, offsets = batch(sessions)
    chosen = None if candidates is None else torch.tensor(candidates, dtype=torch.int64)
    own, excluded = items - 1 if clicked else None, torch.tensor(left, dtype=torch.int64) if left else None
    return ranker.best_rows(ranker.encode(items, offsets), items, offsets, k, chosen, own, excluded)


@settings(deadline=None, max_examples=60)
@given(cases(), WEIGHTS, st.booleans(), st.lists(st.integers(-1, 8), max_size=3))
def test_definition(case: Case, weight: float, clicked: bool, left: list[int]) -> None:
    """Σ of weight times softmax, or score by the sum of scores; a session of unknown items gets the most popular."""
    neighbours, net = fitted("vs_knn", case), network(case.items)
    method = plain.neighbours(case.train, 500, 5000, plain.BY_PLACE["quadratic"], plain.BY_STEPS["div"], 10.0)
    ranker = blended([net, neighbours], [weight, 1 - weight], neighbours.counts)
    found = best(ranker, case.queries, case.k, case.candidates, clicked, left)
    popular = plain.by_popularity(case.train, case.items)
    for number, query in enumerate(case.queries):
        known = [item for item in query if item != 0]
        gone = [*left, *((item - 1 for item in known) if clicked else ())]
        candidates = range(case.items) if case.candidates is None else case.candidates
        allowed = [item for item in popular if item - 1 in candidates and item - 1 not in gone]
        if known:
            logits = net(*batch([known])).detach().numpy()[0]
            softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            counted = np.array([max(0.0, method(known).get(item, 0.0)) for item in range(1, case.items + 1)])
            shares = weight * softmax + (1 - weight) * (counted / counted.sum() if counted.any() else counted)
        else:
            shares = neighbours.counts.numpy()
        expected = sorted(allowed, key=lambda item: -shares[item - 1])[: case.k]
        missing = case.k - len(expected)
        assert found.rows[number].tolist() == [item - 1 for item in expected] + [-1] * missing
        values = [*shares[np.array(expected, dtype=int) - 1], *[-np.inf] * missing]
        assert found.scores[number].tolist() == pytest.approx(values, rel=1e-9)
        assert int(found.known_clicks[number]) == len(known)
    assert bool(found.finite)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 9), st.integers(0, 5), st.integers(1, 12))
def test_ties(data: st.DataObject, items: int, sessions: int, k: int) -> None:
    """By popularity, the same in any order of it."""
    values = st.lists(st.sampled_from([-np.inf, 0.0, 0.25, 1.0]), min_size=items, max_size=items)
    scores = torch.tensor([data.draw(values) for _ in range(sessions)], dtype=torch.float64).view(sessions, items)
    popular = torch.tensor(data.draw(st.permutations(range(items))))
    found = best_by_popularity(scores, popular, k)
    for number, row in enumerate(scores.tolist()):
        expected = [item for item in sorted(popular.tolist(), key=lambda item: -row[item]) if row[item] > -np.inf][:k]
        missing = k - len(expected)
        assert found[1][number].tolist() == expected + [-1] * missing
        assert found[0][number].tolist() == [row[item] for item in expected] + [-np.inf] * missing


SESSIONS = [[], *random_sessions([1 + number % 9 for number in range(40)], 50, seed=1), [0, 3, 0], [0]]
CHOICES: list[tuple[list[int] | None, bool, list[int]]] = [(None, False, []), ([3, 9, 30, 99, -1], True, [3, 7, 77])]


@pytest.fixture(scope="module")
def three() -> BlendRanker:
    baseline = BASELINES["sequential_rules"](ModelConfig(50))
    baseline.fit(Sessions.from_lists(random_sessions([1 + 7 * number % 9 for number in range(300)], 50)))
    members = [network(50), network(50, 1), baseline]
    return blended(members, [0.25, 0.25, 0.5], baseline.counts)


class Ranking(nn.Module):
    """What programs do with a blend."""

    def __init__(self, ranker: BlendRanker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        own: Optional[Tensor],
        excluded: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        encoded = self.ranker.encode(items, offsets)
        found = self.ranker.best_rows(encoded, items, offsets, k, candidates, own, excluded)
        return found.rows, found.scores


@pytest.mark.parametrize("choice", CHOICES)
def test_script_and_parts(choice: tuple[list[int] | None, bool, list[int]], three: BlendRanker) -> None:
    """The same answers scripted, one session at a time, and for each session alone."""
    expected = best(three, SESSIONS, 20, *choice)
    candidates, clicked, left = choice
    items, offsets = batch(SESSIONS)
    some = [None if rows is None else torch.tensor(rows) for rows in (candidates, left or None)]
    scripted = script_round_trip(torch.jit.script(Ranking(three)))
    rows, scores = scripted(items, offsets, 20, some[0], items - 1 if clicked else None, some[1])
    assert torch.equal(rows, expected.rows)
    assert torch.allclose(scores, expected.scores, rtol=1e-9)
    with mock.patch.object(three, "at_once", 1):
        one_by_one = best(three, SESSIONS, 20, *choice)
    assert torch.equal(one_by_one.rows, expected.rows)
    assert torch.allclose(one_by_one.scores, expected.scores, rtol=1e-12)
    for number, session in enumerate(SESSIONS):
        assert torch.equal(best(three, [session], 20, *choice).rows[0], expected.rows[number])


def test_scores(three: BlendRanker) -> None:
    """They are shares of 1, and nothing for a session of which nothing is known."""
    items, offsets = batch([[3, 9], [0], [], [7]])
    encoded = three.encode(items, offsets)
    scores = three.scores(encoded, items, offsets, None)
    assert torch.allclose(scores.sum(1), torch.tensor([1.0, 0, 0, 1], dtype=torch.float64))
    some = torch.tensor([7, 3, 3, 0])
    assert torch.equal(three.scores(encoded, items, offsets, some), scores[:, some])


def test_clicks_behind_the_last_session(three: BlendRanker) -> None:
    """Belong to none, and take nothing from any."""
    items, offsets = torch.tensor([3, 9, 7, 7]), torch.tensor([0, 2])
    found = three.best_rows(three.encode(items, offsets), items, offsets, 50, None, items - 1, None)
    expected = best(three, [[3, 9]], 50, None, True, [])
    assert_equal_outputs(found, expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_finite(value: float) -> None:
    """Says so, whatever weighs most, and whichever items are asked for."""
    net, other = network(6), network(6, 1, SRGNN)
    with torch.no_grad():
        net.item_embedding.weight[2] = value
    ranker = blended([net, other], [0.05, 0.95], torch.ones(6, dtype=torch.float64))
    for candidates in (None, [4]):
        assert not bool(best(ranker, [[1, 3]], 2, candidates, False, []).finite)


def test_members_that_weigh_nothing_are_left_out() -> None:
    counts = torch.arange(1.0, 7.0, dtype=torch.float64)
    net = network(6)
    with torch.no_grad():
        net.item_embedding.weight.fill_(torch.nan)
    ranker = blended([net, network(6, 1)], [0.0, 1.0], counts)
    assert len(ranker.members) == 1
    assert bool(best(ranker, [[1, 3]], 2, None, False, []).finite)
