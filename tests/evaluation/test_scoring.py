"""Evaluation: the baselines by their definitions, the model by its own top-k, and the rules for what has no row."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
import torch

from tagnn_fast import ModelConfig, SessionBatch
from tagnn_fast.baselines import Popularity, SequentialRules, SessionPopularity
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data import PrefixExamples, Sessions, Vocabulary, read_exchange
from tagnn_fast.data.examples import ExampleBatch
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.nn.tagnn_pp import TAGNNPP
from tagnn_fast.recommender import Recommender
from tests.support import shared

VOCABULARY = Vocabulary(pa.array(range(101, 107)), np.array([5, 9, 9, 1, 0, 7]))
POPULAR = [2, 3, 6, 1, 4, 5]


def fitted(kind: type[Baseline], train: list[list[int]]) -> Recommender:
    baseline = kind(ModelConfig(len(VOCABULARY)))
    baseline.fit(Sessions.from_lists(train))
    return Recommender(baseline, VOCABULARY)


def lists(recommender: Recommender, batch: ExampleBatch, k: int = 6) -> list[list[int]]:
    return recommender.topk(batch.items, batch.offsets, k).items.tolist()


def by_clicks(train: list[list[int]]) -> list[int]:
    clicks = [item for session in train for item in session]
    return sorted(range(1, 7), key=lambda item: -clicks.count(item))


# As often as VOCABULARY says.
TRAIN = [[item] * count for item, count in enumerate(VOCABULARY.counts.tolist(), 1) if count]


def test_popularity() -> None:
    batch = PrefixExamples(Sessions.from_lists([[1, 2, 3]])).cut(torch.arange(2))
    assert lists(fitted(Popularity, TRAIN), batch) == [POPULAR, POPULAR]


def test_session_popularity() -> None:
    """Clicks in the prefix first, then training clicks; items without a row count for nothing."""
    batch = PrefixExamples(Sessions.from_lists([[4, 1, 4, 0, 5], [0, 2]])).cut(torch.tensor([0, 1, 3, 4]))
    assert lists(fitted(SessionPopularity, TRAIN), batch) == [
        [4, 1, 2, 3, 6, 5],
        [4, 1, 2, 3, 6, 5],
        [4, 2, 3, 6, 1, 5],
        POPULAR,
    ]


def test_sequential_rules() -> None:
    """By a count of every pair; the last click that has a row decides, popularity fills the list."""
    generator = np.random.default_rng(0)
    train = [generator.integers(1, 7, generator.integers(1, 14)).tolist() for _ in range(40)]
    weights = np.zeros((7, 7))
    for session in train:
        for i, j in combinations(range(len(session)), 2):
            weights[session[i], session[j]] += 1 / (j - i) if j - i <= 10 else 0
    batch = PrefixExamples(Sessions.from_lists([[1, 2, 5, 0, 3], [0, 2], [4, 4, 1]])).cut(torch.arange(7))
    lasts = [5, 5, 2, 1, 0, 4, 4]
    expected = [sorted(by_clicks(train), key=lambda item: -weights[last, item]) for last in lasts]
    recommender = fitted(SequentialRules, train)
    assert lists(recommender, batch) == expected
    assert lists(recommender, batch, 2) == [items[:2] for items in expected]
    assert lists(fitted(SequentialRules, [[6, 6]]), batch) == [[6, 1, 2, 3, 4, 5]] * 7


def sample_recommender(semantics: str = "clean") -> Recommender:
    torch.manual_seed(0)
    padded_length = 3 if semantics == "published" else None
    config = ModelConfig(6, hidden_size=8, semantics=semantics, padded_length=padded_length)
    return Recommender(TAGNNPP(config).double(), VOCABULARY)


def test_model() -> None:
    """Known clicks by the model, prefixes without one by popularity, targets without a row as misses."""
    sessions = [[1, 2, 3, 2], [0, 4, 0, 5], [0, 0, 2], [6, 0]]
    recommender = sample_recommender()
    examples = [(session[:end], session[end]) for session in sessions for end in range(len(session) - 1, 0, -1)]
    hits = 0
    for prefix, target in examples:
        known = [item for item in prefix if item]
        best = recommender.model.topk(*SessionBatch.from_lists([known]), k=6)[1][0].tolist() if known else POPULAR
        hits += target in best[:5]
    figures = score_model(recommender, PrefixExamples(Sessions.from_lists(sessions)), advance=lambda _: None)
    assert list(figures) == [f"{name}@{cutoff}" for cutoff in (5, 6) for name in ("HR", "MRR", "NDCG", "coverage")]
    assert figures["HR@5"] == pytest.approx(100 * hits / len(examples))


def test_original_pads_to_the_longest_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = sample_recommender("published")
    lengths: list[int | None] = []
    encode = recommender.model.encode

    def spy(items: torch.Tensor, offsets: torch.Tensor, padded_length: int | None = None) -> object:
        lengths.append(padded_length)
        return encode(items, offsets, padded_length)

    monkeypatch.setattr(recommender.model, "encode", spy)
    score_model(recommender, PrefixExamples(Sessions.from_lists([[1, 2, 3, 4, 5], [1, 2]])))
    assert lengths == [4]


def test_non_finite_scores_fail() -> None:
    recommender = sample_recommender()
    with torch.no_grad():
        recommender.model.item_embedding.weight[3, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="scores: expected finite numbers"):
        score_model(recommender, PrefixExamples(Sessions.from_lists([[1, 2, 4]])))


def test_real_baselines() -> None:
    """On Yoochoose 1/64, where 412 targets without a row stay in the denominator."""
    dataset = read_exchange(shared("data/yoochoose1_64"))
    examples = PrefixExamples(dataset.test)

    def figures(kind: type[Baseline]) -> dict[str, float]:
        baseline = kind(ModelConfig(len(dataset.vocabulary)))
        baseline.fit(dataset.train)
        return score_model(Recommender(baseline, dataset.vocabulary), examples)

    found = figures(Popularity)
    popular = set(dataset.vocabulary.by_popularity()[:20].tolist())
    targets = examples.cut(torch.arange(len(examples))).targets.tolist()
    assert found["HR@20"] == pytest.approx(100 * sum(target in popular for target in targets) / 55_898)
    assert found["coverage@20"] == pytest.approx(100 * 20 / 17_376)
    rules, session = figures(SequentialRules), figures(SessionPopularity)
    assert [round(rules[name], 2) for name in ("HR@20", "MRR@20")] == [67.18, 30.20]
    assert [round(session[name], 2) for name in ("HR@20", "MRR@20")] == [30.87, 18.46]
