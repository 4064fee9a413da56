"""What a run takes of the one whose weights it begins with, and what these have seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.runs.configuration import TrainingConfig, make_model


def known_until(time: float | None) -> float:
    """A time that was written down; infinite where none was."""
    return math.inf if time is None else float(time)


def last_time(dataset: Dataset, others: Iterable[float]) -> float | None:
    """The latest of the training sessions' times and others; None where one is not known or infinite."""
    times = dataset.train.times
    if times is None or not times.numel():
        return None
    return _written(max([float(times.max()), *others]))


def beginning(times: Iterable[float | None]) -> dict[str, float | None]:
    """What is written down of the weights that a run begins with, trained until these times: nothing of new ones."""
    seen = [time for time in times if time is not None]
    return {"began_with": _written(max(seen))} if seen else {}


def _written(time: float) -> float | None:
    return None if math.isinf(time) else time


def seen_in_test(dataset: Dataset, trained_until: float) -> str:
    """What to know of figures on test sessions that weights may have been trained on; empty where all are later.

    Args:
        dataset: whose test sessions they are.
        trained_until: time of the last session that the weights have seen, seconds since 1970; infinite if not known.
    """
    times = dataset.test.times
    earlier = len(dataset.test) if times is None else int((times <= trained_until).sum())
    if earlier == 0:
        return ""
    return (
        f"Of {len(dataset.test):,} test sessions {earlier:,} are not known to be later than those that the weights "
        "were trained on before, and may be among these: such figures can be far higher than on new sessions."
    )


def check_items(before: Vocabulary, vocabulary: Vocabulary) -> None:
    """Refuse a run to begin with whose items are not the first ones here.

    Raises:
        ValueError: where they are not, in their order.
    """
    items = len(before)
    if not vocabulary.raw_ids.slice(0, items).equals(before.raw_ids):
        raise ValueError(
            f"start_from: expected a run on the data set before an update, whose {items:,} items are the first of the "
            f"{len(vocabulary):,} here, got other items"
        )


def grown_weights(
    before: Mapping[str, torch.Tensor], model: ModelConfig, training: TrainingConfig
) -> dict[str, torch.Tensor]:
    """A run's weights with rows for the items behind its own; new rows are as a new model has them."""
    torch.manual_seed(training.seed)
    weights = make_model(model, training).state_dict()
    for name, value in before.items():
        if value.shape == weights[name].shape:
            weights[name] = value
        else:
            weights[name][: len(value)] = value  # the item table, which has more rows
    return weights
