"""Arguments of the ops that count, for any training sessions and any values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops.session_neighbours import DECAYS

ANY_FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 0.5, 5e-324]))
ANY_INT32 = st.one_of(st.integers(-3, 10), st.integers(-(2**31), 2**31 - 1))
ANY_INT64 = st.one_of(st.integers(-3, 10), st.integers(-(2**63), 2**63 - 1))


def vector(values: Sequence[float], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=torch.float64 if dtype.is_floating_point else torch.int64).to(dtype)


def drawn(data: st.DataObject, values: st.SearchStrategy[float], dtype: torch.dtype, size: int) -> Tensor:
    """A vector of so many of these values."""
    return vector(data.draw(st.lists(values, min_size=size, max_size=size)), dtype)


def popularity(data: st.DataObject, items: int) -> tuple[Tensor, Tensor]:
    """Items in any order, and the place of each."""
    popular = torch.tensor(data.draw(st.permutations(range(items))), dtype=torch.int64)
    rank = torch.empty(items, dtype=torch.int32)
    rank[popular] = torch.arange(items, dtype=torch.int32)
    return popular, rank


def choices(data: st.DataObject, sessions: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Any candidates or none, any items to leave out or none."""
    candidates = data.draw(st.none() | st.lists(ANY_INT64, max_size=9))
    excluded = data.draw(st.none() | st.lists(ANY_INT64, max_size=9))
    return (
        None if candidates is None else vector(candidates, torch.int64),
        None if excluded is None else vector(excluded, torch.int64),
        None if excluded is None else drawn(data, ANY_INT64, torch.int64, sessions + 1),
    )


def session_index(sessions: Sequence[Sequence[int]], items: int, sample: int) -> list[Tensor]:
    """Postings and entries of training sessions of items from 1, the most recent last."""
    last = [{item - 1: place for place, item in enumerate(session, 1)} for session in sessions]
    postings = [[n for n in reversed(range(len(last))) if row in last[n]][:sample] for row in range(items)]
    return [
        offsets_of(postings),
        vector([n for numbers in postings for n in numbers], torch.int32),
        offsets_of(last),
        vector([row for entries in last for row in entries], torch.int32),
        vector([place for entries in last for place in entries.values()], torch.int32),
    ]


def offsets_of(parts: Sequence[Sequence[int] | dict[int, int]]) -> Tensor:
    return torch.tensor([0, *(len(part) for part in parts)], dtype=torch.int64).cumsum(0)


SCALES = st.sampled_from([1e-6, 0.3, 1.0, 1.25, 7.0, torch.inf])


def options(data: st.DataObject) -> tuple[int, int, int, float, int, float, float, bool]:
    """Neighbours, sample, decays with their scales, distance scale and cosine."""
    count = st.one_of(st.integers(1, 6), st.just(2**63 - 1))
    decay = st.sampled_from(range(len(DECAYS)))
    return (
        data.draw(count),
        data.draw(count),
        data.draw(decay),
        data.draw(SCALES),
        data.draw(decay),
        data.draw(SCALES),
        data.draw(st.just(0.0) | SCALES),
        data.draw(st.booleans()),
    )


def assert_well_formed(lists: tuple[Tensor, Tensor], sessions: int, k: int, items: int) -> None:
    """No item twice, scores that do not rise, -1 and -inf at the end alone."""
    scores, rows = lists
    assert scores.shape == rows.shape == (sessions, k)
    assert bool(((rows >= -1) & (rows < items)).all())
    assert bool((scores == -torch.inf).eq(rows == -1).all())
    assert bool((scores.ge(0) | rows.eq(-1)).all())
    for line in rows.tolist():
        found = [row for row in line if row >= 0]
        assert line == found + [-1] * (k - len(found))
        assert len(set(found)) == len(found)
    for line in scores.tolist():
        assert all(score >= after for score, after in pairwise(line))
