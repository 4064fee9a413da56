"""Runs with the items that a test needs, of a model that nobody trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tagnn_fast import ModelConfig
from tagnn_fast.data import Dataset, Sessions, Vocabulary, write_dataset
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import create_run


def write_run(folder: Path, raw_ids: Sequence[object], titles: Sequence[str | None] | None = None) -> Path:
    """A run with these items, the first of which are clicked most often."""
    count = len(raw_ids)
    clicks = [item for item in range(1, count + 1) for _ in range(1 + count - item)]
    vocabulary = Vocabulary(
        pa.array(raw_ids),
        np.arange(count, 0, -1),
        pa.array(titles, pa.string()) if titles is not None else None,
    )
    train = Sessions.from_lists([clicks])
    dataset = Dataset("small", train, Sessions.from_lists([[1, min(2, count)]]), vocabulary)
    write_dataset(dataset, folder / "data")
    model, training = ModelConfig(count, hidden_size=8), TrainingConfig()
    run = create_run(folder / "run", model, training, dataset, folder / "data")
    torch.manual_seed(0)
    run.keep_model(make_model(model, training).state_dict(), 1)
    return folder / "run"
