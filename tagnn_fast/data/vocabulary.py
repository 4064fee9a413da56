"""The items of a data set: which raw id has which row."""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tagnn_fast.checks import as_integer, is_table
from tagnn_fast.data.arrow import is_text, one_chunk

_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of characters, which UTF-8 cannot write


class Vocabulary:
    """Raw ids of the items that occur in training, and how often. Row i of the arrays is item index i + 1.

    Args:
        raw_ids: distinct raw ids, int64 or string.
        counts: clicks on each in the training sessions, int64.
        titles: what to call each for people, string, null where there is nothing; None where there are none at all.
    """

    def __init__(self, raw_ids: pa.Array, counts: np.ndarray, titles: pa.Array | None = None) -> None:
        if not (pa.types.is_int64(raw_ids.type) or pa.types.is_string(raw_ids.type)):
            raise TypeError(f"raw_ids: expected int64 or string, got {raw_ids.type}")
        if len(raw_ids) != len(counts):
            raise ValueError(f"counts: expected one per item, got {len(counts)} for {len(raw_ids)}")
        if raw_ids.null_count or pc.count_distinct(raw_ids).as_py() != len(raw_ids):
            raise ValueError("raw_ids: expected distinct ids, got one twice or a null")
        if titles is not None and (len(titles) != len(raw_ids) or not pa.types.is_string(titles.type)):
            raise ValueError(f"titles: expected a string per item, got {len(titles)} of {titles.type}")
        self.raw_ids, self.titles = raw_ids, titles
        self.counts = np.array(counts, np.int64)  # a writable copy, as PyTorch wants

    def __len__(self) -> int:
        return len(self.raw_ids)

    def equals(self, other: Vocabulary) -> bool:
        """Whether both give the same row to the same raw id."""
        return bool(self.raw_ids.equals(other.raw_ids))

    def fingerprint(self) -> str:
        """SHA-256 of the raw ids in their order."""
        return hashlib.sha256("\n".join(map(str, self.raw_ids.to_pylist())).encode()).hexdigest()

    @property
    def integers(self) -> bool:
        """Whether raw ids are integers; they are strings otherwise."""
        return bool(pa.types.is_int64(self.raw_ids.type))

    def encode(self, raw_ids: Iterable[object] | pa.Array | np.ndarray) -> np.ndarray:
        """Item indices of raw ids, int32; 0 for those without a row.

        Integer ids are given as integers of any width, Python's, NumPy's or Arrow's, or as the text that such an
        integer is written as: "7" is 7, while "007", "+7" and "7.0" are unknown, as is whatever is beyond 64 bits.
        String ids are given as strings.

        Raises:
            TypeError: on anything else: an integer where ids are strings, a bool, float, null or other value anywhere.
            ValueError: on an array of more than one dimension.
        """
        ids = self._ids(raw_ids)
        if pa.types.is_int64(ids.type) and len(self):
            return self._places(ids.to_numpy())
        known = self._texts if self.integers and not pa.types.is_int64(ids.type) else self.raw_ids
        found = pc.index_in(ids, value_set=known)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int32) + 1  # type: ignore[no-any-return]

    def check_ids(self, raw_ids: Iterable[object] | pa.Array | np.ndarray) -> None:
        """Raise as :meth:`encode` does, without looking anything up."""
        self._ids(raw_ids)

    def _places(self, ids: np.ndarray) -> np.ndarray:
        """Item indices of integers; Arrow would hash all raw ids at each call, which takes longer than an answer."""
        sorted_ids, items = self._sorted
        place = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
        return np.where(sorted_ids[place] == ids, items[place], np.int32(0))

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Raw ids, rising, int64, and the item index of each, int32."""
        ids = self.raw_ids.to_numpy()
        order = np.argsort(ids, kind="stable")
        return ids[order], (order + 1).astype(np.int32)

    @cached_property
    def _texts(self) -> pa.Array:
        return self.raw_ids.cast(pa.string())

    def _ids(self, raw_ids: Iterable[object] | pa.Array | np.ndarray) -> pa.Array:
        """Ids as int64 or string, null where a value is of the right kind and still no id that there can be."""
        if isinstance(raw_ids, (str, bytes)) or is_table(raw_ids):
            raise TypeError(f"item ids: expected several, got {type(raw_ids).__name__} {reprlib.repr(raw_ids)}")
        if isinstance(raw_ids, np.ndarray):
            if raw_ids.ndim != 1:
                raise ValueError(f"item ids: expected one dimension, got shape {raw_ids.shape}")
            if raw_ids.dtype.kind not in "iu":
                return self._of_values(raw_ids.tolist())
            raw_ids = pa.array(raw_ids.astype(np.uint64 if raw_ids.dtype == np.uint64 else np.int64))
        if isinstance(raw_ids, pa.ChunkedArray):
            raw_ids = one_chunk(raw_ids)
        return self._of_array(raw_ids) if isinstance(raw_ids, pa.Array) else self._of_values(list(raw_ids))

    def _of_array(self, ids: pa.Array) -> pa.Array:
        if len(ids) == 0:
            return pa.array([], self.raw_ids.type)
        if pa.types.is_dictionary(ids.type):
            ids = ids.dictionary_decode()
        if ids.null_count:
            raise self._unlike("null")
        kind = ids.type
        if is_text(kind):
            return ids.cast(pa.string())
        if pa.types.is_integer(kind) and self.integers:
            return ids.cast(pa.string() if pa.types.is_uint64(kind) else pa.int64())
        raise self._unlike(str(kind), reprlib.repr(ids[0].as_py()))

    def _of_values(self, values: list[Any]) -> pa.Array:
        kinds = set(map(type, values))
        try:
            if self.integers and kinds == {int}:
                return pa.array(values, pa.int64())
            if kinds == {str}:
                return pa.array(values, pa.string())
        except (OverflowError, UnicodeEncodeError):
            pass  # one of them can be no id; the others are looked up
        return pa.array(map(self._text, values), pa.string())

    def _text(self, value: object) -> str | None:
        """An id as the text that it is looked up by, None where none can be that."""
        if isinstance(value, pa.Scalar):
            value = value.as_py()
        if isinstance(value, str):
            return None if _SURROGATE.search(value) else str(value)
        number = as_integer(value) if self.integers else None
        if number is None:
            raise self._unlike(*([] if value is None else [type(value).__name__]), reprlib.repr(value))
        return str(number) if -(2**63) <= number < 2**63 else None

    def _unlike(self, *found: str) -> TypeError:
        expected = "integers" if self.integers else "strings"
        return TypeError(f"item ids: expected {expected}, as the data set's are, got {' '.join(found)}")

    def decode(self, items: np.ndarray) -> pa.Array:
        """Raw ids of item indices 1..number of items."""
        return self.raw_ids.take(pa.array(np.asarray(items, np.int64) - 1))

    def title(self, raw_id: object) -> str | None:
        """What to call an item, None where there is nothing."""
        if self.titles is None:
            return None
        place = int(self.encode([raw_id])[0])
        return self.titles[place - 1].as_py() if place else None

    def by_popularity(self) -> np.ndarray:
        """Item indices, most clicked first, equal ones by index: int64 (items,)."""
        return np.argsort(-self.counts, kind="stable") + 1


def are_integers(texts: pa.Array) -> pa.Array:
    """Which ids come out again as they are, when they are read as integers of 64 bits: bool (ids,)."""
    # Of so many digits, text is in the order of numbers.
    long = pc.and_(
        pc.match_substring_regex(texts, r"^-?[1-9]\d{18}$"),
        pc.if_else(
            pc.starts_with(texts, "-"),
            pc.less_equal(texts, str(np.iinfo(np.int64).min)),
            pc.less_equal(texts, str(np.iinfo(np.int64).max)),
        ),
    )
    return pc.or_(pc.match_substring_regex(texts, r"^(0|-?[1-9]\d{0,17})$"), long)
