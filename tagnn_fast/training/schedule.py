"""What follows from the epochs so far: which is the best, the next one's learning rate, and whether there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples, shuffled
from tagnn_fast.runs.configuration import TrainingConfig

Records = Sequence[Mapping[str, Any]]  # one per epoch, as in history.json


def choose_epoch(history: Records) -> int:
    """The epoch, from 1, with the highest validation MRR at the longest cutoff; without validation, the last."""
    if "validation" not in history[-1]:
        return int(history[-1]["epoch"])
    metric = max((name for name in history[-1]["validation"] if name.startswith("MRR")), key=lambda name: int(name[4:]))
    return int(max(history, key=lambda record: (record["validation"][metric], -record["epoch"]))["epoch"])


def learning_rate(options: TrainingConfig, history: Records) -> float:
    """The rate of the epoch after these.

    The first is cut after `first_decay` epochs, each later one after `decay_every`; where these are None, after an
    epoch that was no better on the validation examples than all before. A cosine schedule's is that of the first step.
    """
    if options.schedule == "cosine":
        return _cosine(options, len(history))
    cuts, epochs = (1, 0) if options.first_decay == 0 else (0, 0)  # epochs at the present rate
    for number in range(1, len(history) + 1):
        epochs += 1
        planned = options.first_decay if cuts == 0 else options.decay_every
        if epochs == planned if planned is not None else choose_epoch(history[:number]) < number:
            cuts, epochs = cuts + 1, 0
    return options.learning_rate * options.decay_factor**cuts


def rate_of_step(options: TrainingConfig, rate: float, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        options: of the training.
        rate: that of the epoch, from :func:`learning_rate`.
        epoch: from 0.
        step: of the epoch, from 0.
        steps: that each epoch has.
    """
    if options.schedule == "cosine":
        rate = _cosine(options, epoch + step / steps)
    done = epoch * steps + step
    return rate * (done + 1) / options.warmup_steps if done < options.warmup_steps else rate


def _cosine(options: TrainingConfig, epochs: float) -> float:
    return options.learning_rate * (1 + math.cos(math.pi * epochs / options.epochs)) / 2


def order_of_epoch(options: TrainingConfig, examples: PrefixExamples, epoch: int) -> Tensor:
    """The order in which an epoch, from 0, takes its examples, shuffled or by session: int64 (examples,)."""
    if epoch >= options.epochs - options.chronological_epochs:
        return examples.session_numbers().argsort(stable=True)
    return shuffled(len(examples), options.seed, epoch)


def is_over(options: TrainingConfig, history: Records) -> bool:
    """Whether there is no epoch after these: all were trained, or the last `patience` brought nothing better."""
    if len(history) >= options.epochs:
        return True
    return 0 < options.patience <= len(history) and choose_epoch(history) <= len(history) - options.patience
