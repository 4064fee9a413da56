"""SLIST against its normal equations, written out and solved densely in float64."""

from __future__ import annotations

import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.baselines import item_item
from tests.baselines import plain
from tests.baselines.cases import Case, cases, fitted
from tests.support import batch
from tests.training.blends import trained


def solution(case: Case, share: float, regularization: float, target_scale: float, recency_scale: float) -> np.ndarray:
    """B, (items, items): least squares of whole sessions by their items, and of what follows a click by the click."""
    weights = plain.recency_weights(len(case.train), case.times, recency_scale)
    gram, right = regularization * np.eye(case.items), np.zeros((case.items, case.items))
    for session, weight in zip(case.train, weights, strict=True):
        whole = np.zeros(case.items)
        whole[[item - 1 for item in session]] = 1
        mean = whole / whole.sum()
        gram += share * weight * np.outer(mean, mean)
        right += share * weight * np.outer(mean, whole)
        for place, item in enumerate(session[:-1]):
            click, following = np.zeros(case.items), np.zeros(case.items)
            click[item - 1] = 1
            for distance, later in enumerate(session[place + 1 :], 1):
                following[later - 1] += math.exp(-(distance - 1) / target_scale)
            gram += (1 - share) * weight * np.outer(click, click)
            right += (1 - share) * weight * np.outer(click, following)
    return np.linalg.solve(gram, right)


@settings(deadline=None, max_examples=100)
@given(
    cases(),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.5, 10.0]),
    st.sampled_from([0.3, 2.0]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.4, 5.0]),
)
def test_scores(
    case: Case, share: float, regularization: float, target_scale: float, recency_scale: float, click_scale: float
) -> None:
    model = fitted(
        "slist",
        case,
        similarity_share=share,
        regularization=regularization,
        target_scale=target_scale,
        recency_scale=recency_scale,
        click_scale=click_scale,
    )
    rows = solution(case, share, regularization, target_scale, recency_scale).clip(min=0)
    expected = np.zeros((len(case.queries), case.items))
    for number, query in enumerate(case.queries):
        known = [item for item in query if item != 0]
        for behind, item in enumerate(reversed(known)):
            expected[number] += math.exp(-behind / click_scale) * rows[item - 1]
    actual = model(*batch(case.queries))
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(cases(), st.integers(1, 3))
def test_best_entries_are_kept(case: Case, kept: int) -> None:
    every, best = fitted("slist", case), fitted("slist", case, kept=kept)
    for row in range(case.items):
        begin, end = every.row_offsets[row : row + 2].tolist()
        own = slice(*best.row_offsets[row : row + 2].tolist())
        assert best.values[own].tolist() == sorted(every.values[begin:end].tolist(), reverse=True)[:kept]


@settings(deadline=None, max_examples=30)
@given(cases())
def test_pairs_are_added_up_in_parts(case: Case) -> None:
    with mock.patch.object(item_item, "PAIRS", 1):
        parts = fitted("slist", case)
    torch.testing.assert_close(parts(*batch(case.queries)), fitted("slist", case)(*batch(case.queries)))


def test_a_matrix_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is its own, with no advice on batches."""
    monkeypatch.setattr("tagnn_fast.baselines.slist.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"^slist: expected 0\.\d GB of free memory for a matrix of \d+ × \d+ items"):
        trained(tmp_path / "run", "slist")
