"""One model, RecBole's or ours: seconds of an epoch, memory, and figures where whole epochs are trained.

    python -m benchmarks.peers.recbole_rows TASK

prints the row of a task as JSON; `benchmarks.peers.recbole` starts it once for each row, so that the peak of the memory
is the model's.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from benchmarks.peers.recbole_models import SETTINGS, RecBoleModel
from tagnn_fast.data import Dataset, PrefixExamples, read_dataset
from tagnn_fast.data.examples import shuffled
from tagnn_fast.evaluation.scoring import score, score_model
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.training.protocols import make_protocol
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.schedule import Records, choose_epoch, learning_rate
from tagnn_fast.training.steps import Steps, make_optimizer, set_learning_rate

WARM_UP, FEWEST_STEPS = 2, 5
SEED = 0


@dataclass(frozen=True)
class Task:
    """One row.

    Attributes:
        dataset: folder of the data set.
        model: in SETTINGS, or an architecture of ours.
        hidden_size: of one of ours; RecBole's have their published one.
        batch_size: examples of a step.
        threads: of PyTorch.
        fraction: of an epoch to time, without `epochs`.
        epochs: to train on the first nine tenths of the sessions and score on the last; 0 for the time alone.
    """

    dataset: str
    model: str
    hidden_size: int
    batch_size: int
    threads: int
    fraction: float
    epochs: int


class Learner(Protocol):
    """A model that learns."""

    module: torch.nn.Module

    def batches(self, history: Records) -> Iterable[Any]:
        """What the steps of the epoch after these are taken on."""

    def train(self, epoch: int, batches: Iterable[Any]) -> float:
        """Take a step on each; the sum of their mean losses."""


class OurModel:
    """A network of ours, by the steps and the schedule that `tagnn-fast train` takes."""

    def __init__(self, task: Task, examples: PrefixExamples, dataset: Dataset) -> None:
        keep_freed_memory()
        overrides = {"architecture": task.model, "hidden_size": task.hidden_size, "batch_size": task.batch_size}
        options, self._training = resolve("clean", overrides, len(dataset.vocabulary), examples.longest_prefix())
        torch.manual_seed(SEED)
        fabric = Fabric(accelerator="cpu", devices=1)
        self.module = make_model(options, self._training)
        self._optimizer = make_optimizer(self.module, self._training.weight_decay, fabric.device)
        model, optimizer = fabric.setup(self.module, self._optimizer)
        model.mark_forward_method("loss")
        self._examples = examples
        self._steps = Steps(fabric, model, optimizer, examples, task.batch_size, self._training.max_clicks_per_batch)

    def batches(self, history: Records) -> Iterable[int]:
        """Their numbers."""
        self.module.train()
        set_learning_rate(self._optimizer, learning_rate(self._training, history))
        self._steps.begin_epoch(shuffled(len(self._examples), SEED, len(history)))
        return range(-(-len(self._examples) // self._training.batch_size))

    def train(self, epoch: int, batches: Iterable[int]) -> float:
        """Take those steps."""
        return sum(float(self._steps.take(number)) for number in batches)


class Timed:
    """Some batches, and the seconds from each request for one to the next: to get it, and to take the step on it."""

    def __init__(self, batches: Iterable[Any], most: int | None = None) -> None:
        self._batches, self._most = batches, most
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        mark = time.perf_counter()
        for batch in islice(self._batches, self._most):
            yield batch
            now = time.perf_counter()
            self.seconds.append(now - mark)
            mark = now


def steps_to_time(examples: int, batch_size: int, fraction: float) -> int:
    """Steps of that fraction of an epoch, or FEWEST_STEPS, after those of WARM_UP; an epoch has no more."""
    return min(WARM_UP + max(FEWEST_STEPS, round(fraction * examples / batch_size)), -(-examples // batch_size))


def epoch_seconds(seconds: Sequence[float], examples: int, batch_size: int) -> float:
    """An epoch's, from those of some steps: the median times the steps it has, of which the last may be a part."""
    return median(seconds) * examples / batch_size


def timing(learner: Learner, examples: int, task: Task) -> dict[str, Any]:
    """A fraction of an epoch."""
    batches = Timed(learner.batches([]), steps_to_time(examples, task.batch_size, task.fraction))
    loss = learner.train(0, batches)
    timed = batches.seconds[WARM_UP:] or batches.seconds  # an epoch may be that short
    return {
        "epoch_seconds": epoch_seconds(timed, examples, task.batch_size),
        "steps_timed": len(timed),
        "fraction_timed": len(timed) * task.batch_size / examples,
        "step_seconds": {"median": median(timed), "least": min(timed), "most": max(timed)},
        "mean_loss": loss / len(batches.seconds),
    }


def training(learner: Learner, dataset: Dataset, validation: PrefixExamples, task: Task) -> dict[str, Any]:
    """Whole epochs; the one of highest MRR@20 on the validation sessions is scored on the test sessions, once."""
    history: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    for epoch in range(task.epochs):
        batches = Timed(learner.batches(history))
        loss = learner.train(epoch, batches) / len(batches.seconds)
        figures = figures_of(learner, dataset, validation)
        history.append({"epoch": epoch + 1, "seconds": sum(batches.seconds), "mean_loss": loss, "validation": figures})
        if choose_epoch(history) == epoch + 1:
            state = {name: value.clone() for name, value in learner.module.state_dict().items()}
        print(f"{task.model}, epoch {epoch + 1}: MRR@20 {figures['MRR@20']:.2f}", file=sys.stderr, flush=True)
    learner.module.load_state_dict(state)
    test = figures_of(learner, dataset, PrefixExamples(dataset.test))
    seconds = median(record["seconds"] for record in history)
    return {"epoch_seconds": seconds, "history": history, "chosen_epoch": choose_epoch(history), "test": test}


def figures_of(learner: Learner, dataset: Dataset, examples: PrefixExamples) -> dict[str, float]:
    """HR, MRR, NDCG and coverage, by the same evaluation for all."""
    if isinstance(learner, RecBoleModel):
        return score(learner.topk, examples, len(dataset.vocabulary))
    return score_model(Recommender(learner.module, dataset.vocabulary), examples)


def row(task: Task) -> dict[str, Any]:
    """Train as the task says."""
    torch.set_num_threads(task.threads)
    load = os.getloadavg()[0]
    dataset = read_dataset(task.dataset)
    protocol = make_protocol("held-out" if task.epochs else "all", dataset, SEED)
    examples = protocol.train
    learner: Learner
    with TemporaryDirectory() as folder, chdir(folder):
        if task.model in SETTINGS:
            learner = RecBoleModel(task.model, examples, dataset, task.batch_size)
        else:
            learner = OurModel(task, examples, dataset)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if protocol.validation is not None:
            figures = training(learner, dataset, protocol.validation, task)
        else:
            figures = timing(learner, len(examples), task)
    return {
        **asdict(task),
        "dataset": dataset.name,
        "examples": len(examples),
        "parameters": sum(parameter.numel() for parameter in learner.module.parameters()),
        **figures,
        "megabytes_before": before // 1024,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load_before": load,
    }


if __name__ == "__main__":
    print(json.dumps(row(Task(**json.loads(sys.argv[1])))))
