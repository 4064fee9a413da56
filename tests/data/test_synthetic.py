"""Synthetic data: as many clicks as asked for, the same from the same seed, skewed, repetitive and learnable."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Dataset, Sessions, read_dataset, synthetic_dataset, write_dataset


def as_lists(sessions: Sessions) -> list[list[int]]:
    return [part.tolist() for part in sessions.clicks.split(sessions.offsets.diff().tolist())]


def same(one: Dataset, other: Dataset) -> bool:
    return (
        as_lists(one.train) == as_lists(other.train)
        and as_lists(one.test) == as_lists(other.test)
        and one.vocabulary.equals(other.vocabulary)
    )


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(st.integers(2, 12), st.integers(2, 600)),
    st.one_of(st.integers(1, 5), st.integers(1, 300)),
    st.integers(0, 2**32),
    st.floats(0, 1, exclude_max=True),
)
def test_any_size(clicks: int, items: int, seed: int, test_share: float) -> None:
    dataset = synthetic_dataset(clicks, items, seed, test_share)
    lengths = torch.cat([dataset.train.offsets.diff(), dataset.test.offsets.diff()])
    assert int(lengths.sum()) == len(dataset.train.clicks) + len(dataset.test.clicks) == clicks
    assert int(lengths.min()) >= 2
    assert len(dataset.train) >= 1
    assert len(dataset.test) == min(len(lengths) - 1, round(test_share * len(lengths)))
    assert dataset.train.examples.tolist() == (dataset.train.offsets.diff() - 1).tolist()
    assert len(dataset.vocabulary) <= items
    counts = torch.bincount(dataset.train.clicks, minlength=len(dataset.vocabulary) + 1)[1:]
    assert counts.tolist() == dataset.vocabulary.counts.tolist()
    assert int(counts.min()) >= 1


def test_the_seed_decides() -> None:
    dataset = synthetic_dataset(2_000, 100, seed=5)
    np.random.default_rng().random()
    assert same(synthetic_dataset(2_000, 100, seed=5), dataset)
    assert not same(synthetic_dataset(2_000, 100, seed=6), dataset)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    dataset = synthetic_dataset(1_000, 30, seed=2, test_share=0.25)
    assert dataset.name == "synthetic-1000-30-2"
    assert dataset.source == {"kind": "synthetic", "clicks": 1000, "items": 30, "seed": 2, "test_share": 0.25}
    write_dataset(dataset, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert same(again, dataset)
    assert again.source == dataset.source
    ids = dataset.vocabulary.raw_ids.to_pylist()
    assert ids == sorted(ids)
    assert set(ids) <= set(range(10_001, 10_031))


def test_defaults() -> None:
    statistics = synthetic_dataset().statistics()
    assert statistics["train"]["clicks"] + statistics["test"]["clicks"] == 100_000
    assert 900 < statistics["items"]["count"] <= 1_000
    assert 4.9 < statistics["train"]["mean_clicks"] < 5.1
    assert 0.09 < statistics["test"]["sessions"] / statistics["train"]["sessions"] < 0.13


def test_no_test_set() -> None:
    dataset = synthetic_dataset(100, 10, test_share=0.0)
    assert len(dataset.test) == 0
    assert len(dataset.train.clicks) == 100


def test_skew() -> None:
    """A tenth of the items has half of the clicks, about; even ones would have a tenth."""
    counts = np.sort(synthetic_dataset(50_000, 1_000).vocabulary.counts)[::-1]
    assert 0.4 < counts[:100].sum() / counts.sum() < 0.8


def test_repeats() -> None:
    """Many sessions come back to an item."""
    sessions = [session for session in as_lists(synthetic_dataset(20_000, 1_000).train) if len(session) > 2]
    repeats = sum(len(set(session)) < len(session) for session in sessions) / len(sessions)
    assert 0.3 < repeats < 0.8


def test_learnable() -> None:
    """The last click tells much about the next: far more than popularity does."""
    dataset = synthetic_dataset(50_000, 300)
    follows: dict[int, Counter[int]] = {}
    for session in as_lists(dataset.train):
        for last, following in pairwise(session):
            follows.setdefault(last, Counter())[following] += 1
    best = {last: {item for item, _ in counter.most_common(5)} for last, counter in follows.items()}
    popular = set(dataset.vocabulary.by_popularity()[:5].tolist())
    pairs = [pair for session in as_lists(dataset.test) for pair in pairwise(session)]
    hits = sum(following in best.get(last, ()) for last, following in pairs) / len(pairs)
    popular_hits = sum(following in popular for _, following in pairs) / len(pairs)
    assert hits > 0.5
    assert hits > 2 * popular_hits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clicks": 1}, "clicks: expected 2 or more, got 1"),
        ({"items": 0}, "items: expected 1 or more, got 0"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"test_share": 1.0}, "test_share: expected a share in [0, 1), got 1.0"),
        ({"test_share": -0.1}, "test_share: expected a share in [0, 1), got -0.1"),
        ({"test_share": float("nan")}, "test_share: expected a share in [0, 1), got nan"),
    ],
)
def test_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as error:
        synthetic_dataset(**options)  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize("items", [1, 2, 9, 1_000, 43_097])
def test_titles(items: int) -> None:
    """One for each item; those of a category have their last words in common."""
    dataset = synthetic_dataset(2_000, items)
    assert len(set(dataset.titles.values())) == len(dataset.titles) == items
    assert dataset.vocabulary.titles.null_count == 0
    assert [dataset.titles[str(item)] for item in dataset.vocabulary.raw_ids.to_pylist()] == (
        dataset.vocabulary.titles.to_pylist()
    )


def test_titles_tell_categories() -> None:
    """The next click is of the same thing far more often than a click of another session is."""
    dataset = synthetic_dataset(20_000, 1_000)
    things = [title.split(" ", 1)[1] for title in dataset.vocabulary.titles.to_pylist()]
    pairs = [pair for session in as_lists(dataset.train) for pair in pairwise(session)]
    same = sum(things[one - 1] == things[other - 1] for one, other in pairs) / len(pairs)
    shares = np.array(list(Counter(things[item - 1] for item in dataset.train.clicks.tolist()).values())) / len(
        dataset.train.clicks
    )
    assert same > 0.7 > 3 * float((shares**2).sum())
