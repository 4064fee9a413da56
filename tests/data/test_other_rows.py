"""A grown data set by the rows of a model from before: the same raw ids, and items that it does not know are misses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tagnn_fast.data import Dataset, Sessions, Vocabulary
from tagnn_fast.data.other_rows import by_rows_of
from tests.logs.running import raw

BEFORE = Vocabulary(pa.array(["b", "c", "a"]), np.array([9, 9, 9]))
# Rows 1 to 5 are a, b, c, x and y.
GROWN = Dataset(
    "grown",
    train=Sessions.from_lists([[1, 4, 2], [4, 5], [3], [5, 3, 3]]),
    test=Sessions.from_lists([[2, 4, 1], [0, 3], [5, 5]]),
    vocabulary=Vocabulary(pa.array(["a", "b", "c", "x", "y"]), np.array([1, 2, 3, 4, 5])),
    raw_test=pa.array([["b", "x", "a"], ["q", "c"], ["y", "y"]]),
)


def test_rows_of_a_model_from_before() -> None:
    seen = by_rows_of(BEFORE, GROWN)
    assert raw(seen.test, seen) == [["b", "", "a"], ["", "c"], ["", ""]]
    assert raw(seen.train, seen) == [["a", "b"], ["c"], ["c", "c"]]
    assert seen.train.examples.tolist() == [1, 0, 1]
    assert seen.vocabulary.raw_ids.equals(BEFORE.raw_ids)
    assert seen.vocabulary.counts.tolist() == [2, 3, 1]
    assert by_rows_of(GROWN.vocabulary, GROWN) is GROWN


def test_items_that_only_the_model_was_trained_on() -> None:
    """Test clicks that the data set has no row for, but whose raw ids it knows."""
    data = dataclasses.replace(GROWN, test=Sessions.from_lists([[2, 4, 1], [0, 3], [0, 0]]))
    ids = ["c", "y", "b", "a", "x"]
    with pytest.raises(ValueError) as error:
        by_rows_of(Vocabulary(pa.array([*ids, "q"]), np.zeros(6)), data)
    assert str(error.value) == (
        "dataset: expected the items of the run (6), got others: 1 of them are missing, such as 'q'"
    )
    seen = by_rows_of(Vocabulary(pa.array(ids), np.zeros(5)), data)
    assert raw(seen.test, seen) == [["b", "x", "a"], ["", "c"], ["y", "y"]]


def test_items_that_kept_their_rows() -> None:
    """An update keeps the rows of items that its training sessions lack; a model from before was trained on them."""
    data = dataclasses.replace(GROWN, test=Sessions.from_lists([[2, 0, 1], [0, 3], [5, 5]]))
    seen = by_rows_of(GROWN.vocabulary, data)
    assert raw(seen.test, seen) == [["b", "x", "a"], ["", "c"], ["y", "y"]]
    assert seen.train is data.train


def test_ids_of_another_type() -> None:
    with pytest.raises(ValueError, match=r"dataset: expected the items of the run \(1\), integers, got strings"):
        by_rows_of(Vocabulary(pa.array([1]), np.array([1])), GROWN)
