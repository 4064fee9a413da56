"""The answer to whoever asks for recommendations, a run's model or an exported one in any format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from tagnn_fast.extras import import_pandas

if TYPE_CHECKING:  # both are imported when they are needed
    import pandas
    import pyarrow

Status = Literal[0, 1, 2]
ANSWERED, SKIPPED, POPULAR = 0, 1, 2


@dataclass(frozen=True)
class Recommendations:
    """The best items of each session; ``items, scores, status = answer``.

    Attributes:
        items: raw ids of each session, best first.
        scores: the model's, of each of them; clicks in training where popularity answered.
        status: of each session: 0, answered in full; 1, unknown clicks were skipped; 2, nothing of it is known, so it
            was answered by popularity.
        skipped: unknown clicks of each session.
        integers: whether raw ids are integers; they are strings otherwise.
    """

    items: list[list[Any]]
    scores: list[list[float]]
    status: list[int]
    skipped: list[int]
    integers: bool

    def __iter__(self) -> Iterator[Any]:
        return iter((self.items, self.scores, self.status))

    def to_table(self) -> pyarrow.Table:
        """A row per recommendation.

        Returns:
            ``session`` (its number, int64), ``rank`` (from 1, int32), ``item`` (raw id, int64 or string), ``score``
            (float64), ``answer`` ("model" or "popularity"), ``skipped`` (unknown clicks of the session, int64).
        """
        import numpy as np
        import pyarrow as pa

        lengths = np.array([*map(len, self.items)], np.int64)
        session = np.arange(len(lengths)).repeat(lengths)
        rank = np.arange(1, len(session) + 1) - (lengths.cumsum() - lengths).repeat(lengths)
        answers = pa.array(["popularity" if status == POPULAR else "model" for status in self.status], pa.string())
        return pa.table(
            {
                "session": session,
                "rank": rank.astype(np.int32),
                "item": pa.array(chain.from_iterable(self.items), pa.int64() if self.integers else pa.string()),
                "score": pa.array(chain.from_iterable(self.scores), pa.float64()),
                "answer": answers.take(pa.array(session)),
                "skipped": np.array(self.skipped, np.int64)[session],
            }
        )

    def to_pandas(self) -> pandas.DataFrame:
        """The rows of :meth:`to_table` as a data frame.

        Raises:
            ImportError: without pandas.
        """
        import_pandas("to_pandas")  # what Arrow needs
        return self.to_table().to_pandas()
