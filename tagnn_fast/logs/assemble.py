"""Sessions in memory to a data set: items are numbered, long sessions cut, cold items taken away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tagnn_fast.data.arrow import lists
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary, are_integers
from tagnn_fast.logs.options import MICROSECONDS, PrepareOptions


@dataclass(frozen=True)
class RawSessions:
    """Sessions one after the other.

    Attributes:
        items: of each click, (clicks,): any integers that tell them apart.
        lengths: clicks of each session, int64 (sessions,).
        times: by which sessions are in order, seconds since 1970, int64 (sessions,).
    """

    items: np.ndarray
    lengths: np.ndarray
    times: np.ndarray

    @classmethod
    def collect(cls, batches: Iterable[pa.RecordBatch]) -> RawSessions:
        """From rows with `session`, its `date` in microseconds and `item`, a session's clicks side by side."""
        items, changes, dates = ([np.empty(0, np.int64)] for _ in range(3))
        before, last = 0, None
        for batch in batches:
            session = batch["session"].to_numpy()
            if len(session) == 0:
                continue
            first = np.flatnonzero(np.diff(session, prepend=session[0] - 1 if last is None else last))
            changes.append(before + first)
            items.append(batch["item"].to_numpy())
            dates.append(batch["date"].to_numpy()[first])
            before, last = before + len(session), session[-1]
        starts = np.concatenate(changes)
        return cls(np.concatenate(items), np.diff(starts, append=before), np.concatenate(dates) // MICROSECONDS["s"])

    def where(self, keep: np.ndarray) -> RawSessions:
        """The clicks that `keep`, bool (clicks,), says; sessions may be left empty."""
        return RawSessions(self.items[keep], _sums(keep, self.lengths), self.times)

    def long(self, minimum: int) -> RawSessions:
        """Sessions of at least so many clicks."""
        enough = self.lengths >= minimum
        return RawSessions(self.items[enough.repeat(self.lengths)], self.lengths[enough], self.times[enough])

    def last_clicks(self, most: int) -> RawSessions:
        """The last clicks of each session."""
        ends = self.lengths.cumsum()
        to_end = ends.repeat(self.lengths) - np.arange(len(self.items))  # 1 for a session's last click
        return self.where(to_end <= most)

    def encoded(self) -> Sessions:
        """As the data set has them, where items are its indices."""
        offsets = np.concatenate([[0], self.lengths.cumsum()]).astype(np.int64)
        clicks, times = self.items.astype(np.int32), self.times.astype(np.int64)
        return Sessions.whole(*map(torch.from_numpy, (clicks, offsets, times)))


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    total = np.concatenate([[0], values.cumsum()])
    ends = lengths.cumsum()
    return np.asarray(total[ends] - total[ends - lengths])


def last_examples(sessions: RawSessions, fraction: int) -> tuple[RawSessions, np.ndarray]:
    """The last 1/fraction of the examples, in the order of the sessions, of each the longest prefix first.

    Returns:
        The sessions they are cut from. The first may be cut short, since its longest prefixes may be left out.
        The items that were cut off it.
    """
    examples = np.maximum(sessions.lengths - 1, 0)
    wanted = int(examples.sum()) // fraction
    if wanted == 0:
        return RawSessions(sessions.items[:0], sessions.lengths[:0], sessions.times[:0]), sessions.items[:0]
    upto = examples[::-1].cumsum()
    count = int(np.searchsorted(upto, wanted)) + 1  # sessions from the end
    cut = int(upto[count - 1]) - wanted
    lengths = sessions.lengths[-count:].copy()
    items = sessions.items[len(sessions.items) - int(lengths.sum()) :]
    end = int(lengths[0])
    lengths[0] -= cut
    kept = np.delete(items, slice(end - cut, end))
    return RawSessions(kept, lengths, sessions.times[-count:]), items[end - cut : end]


@dataclass(frozen=True)
class Splits:
    """Sessions of both splits as they will be but for cold items, by code.

    Attributes:
        train: training sessions in order.
        test: test sessions in order.
        catalogue: codes of the items that get a row, in its order: that in which training sessions first have them.
        raw_ids: their ids, string.
        steps: what was done, for the record.
    """

    train: RawSessions
    test: RawSessions
    catalogue: pa.Array
    raw_ids: pa.Array
    steps: list[dict[str, Any]]

    def is_of_integers(self) -> bool:
        """Whether the ids of all items with a row are integers."""
        return bool(pc.all(are_integers(self.raw_ids), min_count=0).as_py())


def shorten(
    train: RawSessions, test: RawSessions, codes: pa.Array, raw_ids: pa.Array, options: PrepareOptions
) -> Splits:
    """Sessions cut to `maximum_length`, and to a `fraction`.

    Args:
        train: training sessions in order.
        test: test sessions in order.
        codes: all items, int64.
        raw_ids: their ids, string.
        options: what is done.

    Raises:
        ValueError: where nothing is left to train on.
    """
    steps: list[dict[str, Any]] = []
    if options.maximum_length is not None:
        train, test = train.last_clicks(options.maximum_length), test.last_clicks(options.maximum_length)
        steps.append(step_of(f"last {options.maximum_length} clicks of training sessions", train))
    catalogue = train
    if options.fraction > 1:
        train, cut = last_examples(train, options.fraction)
        if options.catalogue == "kept":
            catalogue = train
        cut_off = raw_ids.take(pc.index_in(pa.array(cut), value_set=codes)).to_pylist()
        step = step_of(f"last 1/{options.fraction} of the training examples", train)
        steps.append({**step, "cut_off_the_first_session": cut_off})
    items = pa.array(catalogue.items).dictionary_encode().dictionary
    return Splits(train, test, items, raw_ids.take(pc.index_in(items, value_set=codes)), steps)


def assemble(
    splits: Splits,
    codes: pa.Array,
    raw_ids: pa.Array,
    options: PrepareOptions,
    name: str,
    source: dict[str, Any],
    old: Vocabulary | None = None,
) -> Dataset:
    """A data set of sessions whose items are codes; its ids have the type that `source` says.

    Args:
        splits: its sessions.
        codes: all items, int64.
        raw_ids: their ids, string.
        options: what is done: cold_items and minimum_length are done here.
        name: of the data set.
        source: its record; what is done here is added.
        old: items that keep their rows, before the others, whether or not the catalogue has them.
    """
    typed = raw_ids.cast(pa.int64()) if source["item_ids"] == "integer" else raw_ids
    catalogue = typed.take(pc.index_in(splits.catalogue, value_set=codes))
    ids, rows = _rows(catalogue, old)
    places = pc.index_in(pa.array(splits.train.items), value_set=splits.catalogue).to_numpy()
    train = dataclasses.replace(splits.train, items=rows[places + 1])
    of_test = typed.take(pc.index_in(pa.array(splits.test.items), value_set=codes))
    test, raw_test = encode_test(splits.test, of_test, catalogue, options)
    test = dataclasses.replace(test, items=rows[test.items])
    if options.cold_items == "drop":
        source["steps"].append(step_of("test sessions without cold items", test))
    counts = np.bincount(train.items, minlength=len(ids) + 1)[1:]
    return Dataset(name, train.encoded(), test.encoded(), Vocabulary(ids, counts), source, raw_test)


def _rows(catalogue: pa.Array, old: Vocabulary | None) -> tuple[pa.Array, np.ndarray]:
    """Ids of all items that have a row; and 0, then the row of each item of the catalogue, (items + 1,)."""
    if old is None:
        return catalogue, np.arange(len(catalogue) + 1)
    rows = old.encode(catalogue).astype(np.int64)
    new = rows == 0
    rows[new] = len(old) + 1 + np.arange(new.sum())
    return pa.concat_arrays([old.raw_ids, catalogue.filter(pa.array(new))]), np.concatenate([[0], rows])


def encode_test(
    test: RawSessions, raw_ids: pa.Array, known: pa.Array, options: PrepareOptions
) -> tuple[RawSessions, pa.ListArray | pa.LargeListArray]:
    """Test sessions by places in the catalogue, from 1, and their raw ids as they were.

    Args:
        test: the sessions; their lengths and times count.
        raw_ids: of each click.
        known: raw ids of the catalogue.
        options: what is done with clicks on other items.
    """
    offsets = np.concatenate([[0], test.lengths.cumsum()])
    found = pc.fill_null(pc.index_in(raw_ids, value_set=known), -1)
    encoded = dataclasses.replace(test, items=found.to_numpy(zero_copy_only=False).astype(np.int64) + 1)
    if options.cold_items == "drop":
        encoded = encoded.where(encoded.items > 0).long(options.minimum_length)
    return encoded, lists(offsets, raw_ids)


def step_of(what: str, sessions: RawSessions) -> dict[str, Any]:
    """What there is after a step, for the record."""
    distinct = len(np.unique(sessions.items))
    return {"step": what, "clicks": len(sessions.items), "sessions": len(sessions.lengths), "items": distinct}
