"""A small data set."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from tagnn_fast.data import Dataset, Sessions, Vocabulary

FILES = ["dataset.json", "items.parquet", "test.parquet", "train.parquet"]


def make(raw_ids: list[int] | list[str] | None = None) -> Dataset:
    """Three items; a leave-one-out session; clicks without a row in the test set."""
    train = Sessions.from_lists([[1, 2, 1], [3], [2, 3]])
    return Dataset(
        name="three items",
        train=Sessions(train.clicks, train.offsets, torch.tensor([1, 0, 1])),
        test=Sessions.from_lists([[2, 0, 3], [1, 0]]),
        vocabulary=Vocabulary(pa.array(raw_ids or [70, 5, 2**62]), np.array([2, 2, 2])),
        source={"kind": "by hand", "files": ["ä", 1, None]},
    )
