"""The items of a data set: which raw id has which row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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

    @property
    def integers(self) -> bool:
        """Whether raw ids are integers; they are strings otherwise."""
        return bool(pa.types.is_int64(self.raw_ids.type))

    def encode(self, raw_ids: Iterable[object] | pa.Array | np.ndarray) -> np.ndarray:
        """Item indices of raw ids, int32; 0 for those without a row.

        Raises:
            ValueError: on ids that cannot be read as the vocabulary's type.
        """
        values = raw_ids if isinstance(raw_ids, (pa.Array, np.ndarray)) else list(raw_ids)
        try:
            ids = pa.array(values)
            ids = ids if ids.type == self.raw_ids.type else ids.cast(self.raw_ids.type)
        except (pa.ArrowException, OverflowError) as error:
            kind = "integers" if self.integers else "strings"
            raise ValueError(f"item ids: expected {kind} as in the data set, got {error}") from None
        found = pc.index_in(ids, value_set=self.raw_ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int32) + 1  # type: ignore[no-any-return]

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
