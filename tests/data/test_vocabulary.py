"""Vocabulary: raw ids to rows and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Vocabulary

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
INT64 = st.integers(-(2**63), 2**63 - 1)


def make(ids: list[int] | list[str], counts: list[int] | None = None) -> Vocabulary:
    type_ = pa.string() if ids and isinstance(ids[0], str) else pa.int64()
    return Vocabulary(pa.array(ids, type_), np.array(counts if counts is not None else [1] * len(ids)))


INTEGERS, STRINGS = make([50, 7, 9], [2, 5, 2]), make(["b", "", "ä b"], [2, 5, 2])


@settings(deadline=None)
@given(st.one_of(st.lists(INT64, unique=True, max_size=8), st.lists(TEXT, unique=True, min_size=1, max_size=8)))
def test_round_trip(ids: list[int] | list[str]) -> None:
    vocabulary = make(ids)
    items = vocabulary.encode(ids)
    assert items.tolist() == list(range(1, len(ids) + 1))
    assert items.dtype == np.int32
    decoded = vocabulary.decode(items[::-1])
    assert decoded.to_pylist() == ids[::-1]
    assert decoded.type == vocabulary.raw_ids.type
    assert vocabulary.integers == (not ids or isinstance(ids[0], int))
    assert len(vocabulary) == len(ids)


def test_unknown_ids() -> None:
    assert INTEGERS.encode([7, 8, 7, -1, 50]).tolist() == [2, 0, 2, 0, 1]
    assert STRINGS.encode(["", "a", "ä b"]).tolist() == [2, 0, 3]
    assert INTEGERS.encode([]).tolist() == STRINGS.encode([]).tolist() == []


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, 50]),
        pa.array([7, 50], pa.int16()),
        np.array([7, 50]),
        np.array([7, 50], np.uint8),
        [np.int64(7), 50],
        iter((7, 50)),
        ["7", "50"],
        pa.array([1, 7, 50, 1])[1:3],
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_kinds_of_integers(ids: list[int]) -> None:
    """Arrays, lists, iterators, and text that reads as a number, as the command line and CSV have it."""
    assert INTEGERS.encode(ids).tolist() == [2, 1]


def test_kinds_of_strings() -> None:
    vocabulary = make(["7", "x"])
    for ids in (["x", "7"], pa.array(["x", "7"], pa.large_string()), np.array(["x", "7"])):
        assert vocabulary.encode(ids).tolist() == [2, 1]
    assert vocabulary.encode([7, 8]).tolist() == [1, 0]


@pytest.mark.parametrize("ids", [["a"], [1.5], [7, "7"], [[7]], [{}], [object()], [2**63], [2**70], [-(2**70)]])
def test_ids_of_the_wrong_type(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="^item ids: expected integers as in the data set, got "):
        INTEGERS.encode(ids)


@pytest.mark.parametrize("ids", [[b"\xff"], ["7", 7], [["b"]], [object()], [2**70]])
def test_ids_that_are_no_text(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="^item ids: expected strings as in the data set, got "):
        STRINGS.encode(ids)


@pytest.mark.parametrize("item", [0, 4])
def test_items_without_an_id(item: int) -> None:
    with pytest.raises(IndexError):
        INTEGERS.decode(np.array([item]))


def test_by_popularity() -> None:
    """Equal ones by index."""
    assert INTEGERS.by_popularity().tolist() == [2, 1, 3]
    assert make(list(range(6)), [1, 4, 1, 4, 9, 1]).by_popularity().tolist() == [5, 2, 4, 1, 3, 6]
    assert INTEGERS.by_popularity().dtype == np.int64


@given(st.lists(st.integers(0, 5), max_size=30))
def test_by_popularity_is_a_sorted_permutation(counts: list[int]) -> None:
    expected = sorted(range(1, len(counts) + 1), key=lambda item: (-counts[item - 1], item))
    assert make(list(range(len(counts))), counts).by_popularity().tolist() == expected


def test_counts_are_a_copy() -> None:
    counts = np.array([1, 2])
    counts.flags.writeable = False
    vocabulary = Vocabulary(pa.array([1, 2]), counts)
    assert vocabulary.counts.flags.writeable
    assert vocabulary.counts.dtype == np.int64


def test_equals() -> None:
    assert INTEGERS.equals(make([50, 7, 9]))
    assert not INTEGERS.equals(make([7, 50, 9]))
    assert not INTEGERS.equals(make([50, 7]))
    assert not make([7]).equals(make(["7"]))


@pytest.mark.parametrize(
    ("ids", "count", "kind", "message"),
    [
        (pa.array([1.0]), 1, TypeError, "raw_ids: expected int64 or string, got double"),
        (pa.array([1], pa.int32()), 1, TypeError, "raw_ids: expected int64 or string, got int32"),
        (pa.array([1, 2]), 3, ValueError, "counts: expected one per item, got 3 for 2"),
        (pa.array([1, 1]), 2, ValueError, "raw_ids: expected distinct ids, got one twice or a null"),
        (pa.array(["a", None]), 2, ValueError, "raw_ids: expected distinct ids, got one twice or a null"),
    ],
)
def test_errors(ids: pa.Array, count: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        Vocabulary(ids, np.ones(count))
    assert str(error.value) == message
