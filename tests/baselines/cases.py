"""Small data with many ties, and what every list of a baseline is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.baselines import BASELINES
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data import Sessions
from tagnn_fast.nn.config import ModelConfig
from tests.baselines import plain
from tests.support import batch


@dataclass(frozen=True)
class Case:
    """Training sessions, oldest first, and sessions to rank items for; 0 is an unknown item."""

    items: int
    train: list[list[int]]
    times: list[int] | None
    queries: list[list[int]]
    k: int
    candidates: list[int] | None  # rows, from 0
    excluded: list[list[int]] | None  # of each query


def lists_of(draw: st.DrawFn, values: st.SearchStrategy[int], shortest: int, longest: int) -> list[int]:
    """Every length as often as any other."""
    size = draw(st.integers(shortest, longest))
    return draw(st.lists(values, min_size=size, max_size=size))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    items = draw(st.integers(1, 7))
    train = [lists_of(draw, st.integers(1, items), 1, 6) for _ in range(draw(st.integers(1, 14)))]
    times = draw(st.none() | st.lists(st.integers(0, 5), min_size=len(train), max_size=len(train)).map(sorted))
    queries = [lists_of(draw, st.integers(0, items), 0, 14) for _ in range(draw(st.integers(1, 4)))]
    rows = st.lists(st.integers(-1, items), max_size=4)
    return Case(
        items,
        train,
        times,
        queries,
        draw(st.integers(1, items + 3)),
        draw(st.none() | rows),
        draw(st.none() | st.lists(rows, min_size=len(queries), max_size=len(queries))),
    )


def fitted(name: str, case: Case, **options: Any) -> Baseline:
    model = BASELINES[name](ModelConfig(case.items), **options)
    model.fit(Sessions.from_lists(case.train, case.times))
    return model


def ranked(model: Baseline, case: Case, queries: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """The lists of all queries, or of those with these numbers."""
    chosen = range(len(case.queries)) if queries is None else queries
    candidates = None if case.candidates is None else torch.tensor(case.candidates, dtype=torch.int64)
    excluded = (None, None) if case.excluded is None else batch([case.excluded[query] for query in chosen])
    return model.ranked(*batch([case.queries[query] for query in chosen]), case.k, candidates, *excluded)


def check(model: Baseline, case: Case, method: plain.Method) -> None:
    """Identical lists, ties included; scores to 1e-12 of theirs."""
    scores, rows = ranked(model, case)
    popular = plain.by_popularity(case.train, case.items)
    for number, query in enumerate(case.queries):
        known = [item for item in query if item != 0]
        candidates = range(case.items) if case.candidates is None else case.candidates
        excluded = [] if case.excluded is None else case.excluded[number]
        allowed = [item for item in popular if item - 1 in candidates and item - 1 not in excluded]
        best = plain.ranked(method(known), allowed, case.k)
        missing = case.k - len(best)
        assert rows[number].tolist() == [item - 1 for item, _ in best] + [-1] * missing
        expected = [score for _, score in best] + [-float("inf")] * missing
        assert scores[number].tolist() == pytest.approx(expected, rel=1e-12, abs=0)
