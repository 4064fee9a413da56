"""A data set by the rows of other items: what a model sees of one that has grown since."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.compute as pc
import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary


def by_rows_of(vocabulary: Vocabulary, dataset: Dataset) -> Dataset:
    """The same sessions by raw ids, where an item has the row that `vocabulary` gives it.

    Test sessions stay whole: an item without a row is item 0, so that as a target it is a miss. Training sessions lose
    such clicks; the items' clicks are those of the data set.

    Raises:
        ValueError: where the data set lacks one of the items.
    """
    own = dataset.vocabulary
    if own.equals(vocabulary):  # but items that the sessions now trained on lack may have kept their rows
        test = _test_by_rows(vocabulary, dataset, np.arange(len(own) + 1))
        same = torch.equal(test.clicks, dataset.test.clicks)
        return dataset if same else dataclasses.replace(dataset, test=test)
    if own.integers != vocabulary.integers:
        kinds = [("integers" if ids.integers else "strings") for ids in (vocabulary, own)]
        raise ValueError(f"dataset: expected the items of the run ({len(vocabulary)}), {kinds[0]}, got {kinds[1]}")
    place = own.encode(vocabulary.raw_ids)  # in the data set, of each of the items
    if missing := int((place == 0).sum()):
        example = vocabulary.raw_ids[int((place == 0).argmax())].as_py()
        raise ValueError(
            f"dataset: expected the items of the run ({len(vocabulary)}), got others: "
            f"{missing} of them are missing, such as {example!r}"
        )
    rows = np.zeros(len(own) + 1, np.int32)
    rows[place] = np.arange(1, len(vocabulary) + 1)

    test = _test_by_rows(vocabulary, dataset, rows)
    clicks = rows[dataset.train.clicks.numpy()]
    session = np.arange(len(dataset.train)).repeat(dataset.train.offsets.diff().numpy())[clicks > 0]
    kept, lengths = np.unique(session, return_counts=True)
    times = None if dataset.train.times is None else dataset.train.times[torch.from_numpy(kept)]
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    train = Sessions.whole(torch.from_numpy(clicks[clicks > 0]), torch.from_numpy(offsets), times)
    items = Vocabulary(vocabulary.raw_ids, own.counts[place - 1], vocabulary.titles)
    return dataclasses.replace(dataset, train=train, test=test, vocabulary=items)


def _test_by_rows(vocabulary: Vocabulary, dataset: Dataset, rows: np.ndarray) -> Sessions:
    """The test sessions, where each row of the data set becomes another; items that it was never trained on, too."""
    clicks = rows[dataset.test.clicks.numpy()]
    if dataset.raw_test is not None and len(dataset.raw_test.flatten()) == len(clicks):
        # As many clicks, so that none of them was taken away.
        known = pc.fill_null(pc.index_in(dataset.raw_test.flatten(), value_set=vocabulary.raw_ids), -1)
        clicks = np.where(clicks == 0, known.to_numpy(zero_copy_only=False) + 1, clicks)
    clicks = torch.from_numpy(clicks.astype(np.int32))
    return Sessions(clicks, dataset.test.offsets, dataset.test.examples, dataset.test.times)
