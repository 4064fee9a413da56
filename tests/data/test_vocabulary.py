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
    assert vocabulary.encode(["\ud800", "x", np.str_("7")]).tolist() == [0, 2, 1]
    assert vocabulary.encode(list(pa.array(["x", "7"]))).tolist() == [2, 1]


MIXED: list[object] = [
    7,
    "7",
    np.int8(7),
    np.uint64(50),
    "50",
    "07",
    "+7",
    "7.0",
    " 7",
    "7\n",
    "a",
    "",
    "\ud800",
    2**63,
    -(2**70),
]


def by_hand(raw_id: object) -> int:
    """Item index in INTEGERS: an integer, or the text that it is written as."""
    number = int(raw_id) if not isinstance(raw_id, str) or raw_id in ("7", "50", "9") else None
    return {50: 1, 7: 2, 9: 3}.get(number, 0)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(MIXED), max_size=6))
def test_integers_and_their_texts(ids: list[object]) -> None:
    """An integer, or the text that an integer is written as; any other text and any larger integer is unknown."""
    assert INTEGERS.encode(ids).tolist() == list(map(by_hand, ids))
    assert INTEGERS.encode(np.array(ids, object)).tolist() == list(map(by_hand, ids))


def test_integers_of_every_width() -> None:
    vocabulary = make([7, 2**63 - 1, -(2**63)])
    assert vocabulary.encode([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**5000]).tolist() == [2, 0, 3, 0, 0]
    assert vocabulary.encode(np.array([7, 2**63, 2**63 - 1], np.uint64)).tolist() == [1, 0, 2]
    assert vocabulary.encode(pa.array([7, 2**63, 2**63 - 1], pa.uint64())).tolist() == [1, 0, 2]
    assert vocabulary.encode(np.array([7, 8], ">i2")).tolist() == [1, 0]
    assert vocabulary.encode([str(2**63 - 1), str(2**63), str(-(2**63))]).tolist() == [2, 0, 3]
    # 2^63 + 7 must not wrap, nor be rounded to a float beside a negative number.
    assert vocabulary.encode([np.uint64(2**63 + 7), np.int64(-1), 7]).tolist() == [0, 0, 1]


def test_arrow_arrays() -> None:
    for ids in (pa.array(["x", "q"]).dictionary_encode(), pa.array(["x", "q"], pa.string_view())):
        assert make(["7", "x"]).encode(ids).tolist() == [2, 0]
    assert INTEGERS.encode(pa.chunked_array([[7], [8, 50]])).tolist() == [2, 0, 1]
    assert INTEGERS.encode(pa.array([7, 50]).dictionary_encode()).tolist() == [2, 1]


def test_nothing_of_any_type() -> None:
    for ids in ([], (), np.array([]), pa.array([], pa.float64()), pa.nulls(0), np.array([], bool)):
        assert INTEGERS.encode(ids).tolist() == STRINGS.encode(ids).tolist() == []


# A value that is no id, and how the message names it.
NO_IDS: list[tuple[object, str]] = [
    ([1.5], "float 1.5"),
    ([7, 7.0], "float 7.0"),
    ([7, True], "bool True"),
    ([np.True_], "bool np.True_"),
    (["7", None], "None"),
    ([b"7"], "bytes b'7'"),
    ([[7]], "list [7]"),
    ([{}], "dict {}"),
    (np.array([7.0]), "float 7.0"),
    (np.array([True]), "bool True"),
    (np.array([7, None], object), "None"),
    (pa.array([7.0]), "double 7.0"),
    (pa.array([True]), "bool True"),
    (pa.array([7, None]), "null"),
    (pa.array(["7", None]).dictionary_encode(), "null"),
    (pa.nulls(1), "null"),
    ([pa.scalar(None, pa.int64())], "None"),
    ([pa.scalar(7.0)], "float 7.0"),
]


@pytest.mark.parametrize(("ids", "found"), NO_IDS, ids=[found for _, found in NO_IDS])
def test_values_that_are_no_ids(ids: list[object], found: str) -> None:
    """Also where they would be equal to an id as numbers."""
    for call in (INTEGERS.encode, INTEGERS.check_ids):
        with pytest.raises(TypeError) as error:
            call(ids)
        assert str(error.value) == f"item ids: expected integers, as the data set's are, got {found}"
    with pytest.raises(TypeError, match="^item ids: expected strings, as the data set's are, got "):
        STRINGS.encode(ids)


@pytest.mark.parametrize(
    "ids",
    [[1], ["b", 1], [np.int64(1)], [2**70], np.array([1]), pa.array([1]), pa.array([1]).dictionary_encode()],
    ids=str,
)
def test_integers_are_no_strings(ids: list[object]) -> None:
    """An integer is neither its text nor a row."""
    with pytest.raises(TypeError, match="^item ids: expected strings, as the data set's are, got .*1"):
        make(["1", "b"]).encode(ids)


@pytest.mark.parametrize("ids", ["750", b"750"])
def test_one_text_is_not_several_ids(ids: object) -> None:
    for vocabulary in (INTEGERS, STRINGS):
        with pytest.raises(TypeError, match="^item ids: expected several, got "):
            vocabulary.encode(ids)  # type: ignore[arg-type]


def test_arrays_of_other_shapes() -> None:
    for ids in (np.array(7), np.array([[7]])):
        with pytest.raises(ValueError, match="^item ids: expected one dimension, got shape "):
            INTEGERS.encode(ids)


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
