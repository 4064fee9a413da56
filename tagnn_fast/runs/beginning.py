"""What a run takes of the one whose weights it begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.runs.configuration import TrainingConfig, make_model

if TYPE_CHECKING:
    from tagnn_fast.runs.run import Run


def last_time(dataset: Dataset, others: Sequence[Run]) -> float | None:
    """Of the training sessions of a data set, and of those that runs have seen; None where one is not known."""
    times = dataset.train.times
    if times is None or not times.numel():
        return None
    last = max([float(times.max()), *(run.trained_until for run in others)])
    return None if math.isinf(last) else last


def check_items(before: Run, vocabulary: Vocabulary) -> None:
    """Refuse a run to begin with whose items are not the first ones here.

    Raises:
        ValueError: where they are not, in their order.
    """
    items = len(before.vocabulary)
    if not vocabulary.raw_ids.slice(0, items).equals(before.vocabulary.raw_ids):
        raise ValueError(
            f"start_from: expected a run on the data set before an update, whose {items:,} items are the first of the "
            f"{len(vocabulary):,} here, got other items"
        )


def grown_weights(
    before: Run, model: ModelConfig, training: TrainingConfig, vocabulary: Vocabulary
) -> dict[str, torch.Tensor]:
    """A run's weights with rows for the items behind its own; new rows are as a new model has them.

    Raises:
        ValueError: see :func:`check_items`.
    """
    check_items(before, vocabulary)
    torch.manual_seed(training.seed)
    weights = make_model(model, training).state_dict()
    for name, value in before.recommender().model.state_dict().items():
        weights[name][: len(value)] = value  # only the item table has more rows
    return weights
