"""Recipes against each other on validation sessions: which options are worth a full training.

    python -m benchmarks.jobs.recipes DATASET RECIPES.json RESULTS.jsonl [--last-part 0.25 --min-clicks 5] [--seconds N]

RECIPES.json is a list of configurations (benchmarks/recipes has some): a `name`, `seeds` if it is to be trained with
others than 0, and options of `tagnn_fast.fit` by name, beside its preset "clean". Each is trained on the first nine
tenths of the training sessions and scored after each epoch on the last tenth, as with ``--protocol held-out``; the test
set has no part in it.
With --last-part, training is on the last such part of those nine tenths, with a catalogue of its own: items with
--min-clicks clicks or more in it. DATASET is a data set folder, or one of the field's exchange files.

RESULTS.jsonl gets a line for each epoch as it ends: what was trained on, name, seed, epoch, learning rate, training
loss, HR@20 and MRR@20 in percent, seconds of training and of scoring; the first of a training has its configuration. A
training that has ended there is not done again; one that was broken off begins anew. No step begins after --seconds.

On a GPU where there is one. Nothing is needed beside PyTorch, NumPy, PyArrow, Rich and safetensors.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tagnn_fast.data import Dataset, PrefixExamples, Sessions, Vocabulary, read_dataset, read_exchange
from tagnn_fast.data.examples import ExampleBatch
from tagnn_fast.data.sessions import offsets_of
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.training.options import check_used
from tagnn_fast.training.protocols import first_held_out
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.schedule import is_over, learning_rate, order_of_epoch, rate_of_step
from tagnn_fast.training.steps import begin_training, matrix_precision, set_learning_rate

SHOWN = ("HR@20", "MRR@20")


class PlainFabric:
    """What steps need of Lightning Fabric, which need not be installed here."""

    def __init__(self, precision: str) -> None:
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.precision = precision

    def setup(self, model: Any, optimizer: Any) -> tuple[Any, Any]:
        model.mark_forward_method = lambda name: None
        return model, optimizer

    def autocast(self) -> AbstractContextManager[Any]:
        mixed = self.precision == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def to_device(self, batch: ExampleBatch) -> ExampleBatch:
        return ExampleBatch(*(value.to(self.device) for value in batch))


@dataclass(frozen=True)
class Recipe:
    """A named configuration with one seed."""

    name: str
    model: ModelConfig
    training: TrainingConfig

    def record(self, data: str) -> dict[str, Any]:
        """What tells its lines from those of others."""
        return {"data": data, "name": self.name, "seed": self.training.seed}


@dataclass(frozen=True)
class Part:
    """What is trained and scored on; `name` says what it is of which data set."""

    name: str
    train: PrefixExamples
    validation: PrefixExamples
    vocabulary: Vocabulary


class OutOfTime(Exception):  # noqa: N818 (no error)
    """--seconds are over."""


def main() -> None:
    """Train what the results do not have yet."""
    options = parse_arguments()
    deadline = math.inf if options.seconds is None else time.monotonic() + options.seconds
    keep_freed_memory()
    data = (
        read_exchange(options.dataset)
        if (options.dataset / "test.txt").exists()
        else read_dataset(options.dataset, test=False)
    )
    part = cut(data, options.last_part, options.min_clicks)
    recipes = list(read_recipes(options.recipes, len(part.vocabulary)))
    print(f"{part.name}: {len(part.vocabulary):,} items, {len(part.train):,} examples, {len(part.validation):,} scored")
    failed = []
    for recipe in recipes:
        if is_done(recipe.record(part.name), options.results):
            continue
        try:
            train(recipe, part, options.results, deadline)
        except OutOfTime:
            print("stopped: no time is left; the same call goes on with what is missing")
            break
        except RuntimeError as error:  # such as memory of the GPU: others may do
            print(f"{recipe.name} failed: {error}", flush=True)
            failed.append(recipe.name)
        gc.collect()  # recorded steps and their memory
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.jobs.recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="data set folder, or the folder of exchange files")
    parser.add_argument("recipes", type=Path, help="JSON file of named configurations")
    parser.add_argument("results", type=Path, help="file that a line is added to for each epoch")
    parser.add_argument("--last-part", type=float, default=1.0, help="share of the training sessions, the last ones")
    parser.add_argument("--min-clicks", type=int, default=1, help="in that share, of items that are kept")
    parser.add_argument("--seconds", type=float, help="after which no step begins")
    return parser.parse_args(arguments)


def read_recipes(path: Path, num_items: int) -> Iterator[Recipe]:
    """Those of a file, each with each of its seeds; what `fit` would refuse is refused here."""
    names = set()
    for given in json.loads(path.read_text(encoding="utf-8")):
        options = {"protocol": "held-out", **given}
        name, seeds = options.pop("name"), options.pop("seeds", [0])
        if name in names:
            raise ValueError(f"{path}: expected each name once, got {name!r} twice")
        names.add(name)
        for seed in seeds:
            model, training = resolve("clean", {**options, "seed": seed}, num_items, 0)
            check_used(options, model, training)
            yield Recipe(name, model, training)


def cut(data: Dataset, last_part: float, min_clicks: int) -> Part:
    """Nine tenths of the training sessions, or their last part with a catalogue of its own, and the last tenth."""
    kept = first_held_out(data.train)
    train = data.train.slice(kept - round(kept * last_part), kept)
    validation = data.train.slice(kept, len(data.train))
    vocabulary = data.vocabulary
    name = f"{data.name}, last {last_part:g}, {min_clicks} clicks" if (last_part, min_clicks) != (1, 1) else data.name
    if (last_part, min_clicks) != (1, 1):
        counts = torch.bincount(train.clicks.long(), minlength=len(vocabulary) + 1)
        counts[0] = 0
        kept_items = (counts >= min_clicks).nonzero().flatten()
        numbers = torch.zeros(len(counts), dtype=torch.int32)
        numbers[kept_items] = torch.arange(1, len(kept_items) + 1, dtype=torch.int32)
        train, validation = among(train, numbers), among(validation, numbers)
        counts = torch.bincount(train.clicks.long(), minlength=len(kept_items) + 1)[1:]
        raw_ids = vocabulary.raw_ids.take(pa.array(kept_items.numpy() - 1))
        vocabulary = Vocabulary(raw_ids, counts.numpy().astype(np.int64))
    return Part(name, PrefixExamples(train), PrefixExamples(validation), vocabulary)


def among(sessions: Sessions, numbers: Tensor) -> Sessions:
    """The sessions with clicks on items that have a number alone, where two or more of them are left."""
    owner = torch.arange(len(sessions)).repeat_interleave(sessions.offsets.diff())
    clicks = numbers[sessions.clicks.long()]
    known = clicks > 0
    lengths = torch.bincount(owner[known], minlength=len(sessions))
    known &= (lengths > 1)[owner]
    return Sessions.whole(clicks[known], offsets_of(lengths[lengths > 1]))


def is_done(record: Mapping[str, Any], results: Path) -> bool:
    """Whether a training has ended."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return any(record.items() <= line.items() and line["ended"] for line in map(json.loads, lines))


def train(recipe: Recipe, part: Part, results: Path, deadline: float) -> None:
    """Train and score a recipe, epoch by epoch; raises OutOfTime."""
    options = recipe.training
    fabric: Any = PlainFabric(options.precision)
    torch.manual_seed(options.seed)
    model = make_model(recipe.model, options).to(fabric.device)
    optimizer, steps = begin_training(fabric, model, options, part.train)
    count = math.ceil(len(part.train) / options.batch_size)
    history: list[dict[str, Any]] = []
    while not is_over(options, history):
        epoch, begun = len(history), time.perf_counter()
        rate = learning_rate(options, history)
        loss_sum = torch.zeros((), dtype=torch.float64, device=fabric.device)
        model.train()
        with matrix_precision(options.precision, fabric.device):
            steps.begin_epoch(order_of_epoch(options, part.train, epoch))
            for number in range(count):
                if time.monotonic() > deadline:
                    raise OutOfTime
                set_learning_rate(optimizer, rate_of_step(options, rate, epoch, number, count))
                taken = min(options.batch_size, len(part.train) - number * options.batch_size)
                loss_sum += steps.take(number).double() * taken
        loss, trained = float(loss_sum) / len(part.train), time.perf_counter()
        scored: SessionModel = model if steps.average is None else steps.average.averaged((epoch + 1) * count)
        figures = score_model(Recommender(scored, part.vocabulary), part.validation) if math.isfinite(loss) else {}
        history.append({"epoch": epoch + 1, "validation": {name: figures.get(name, 0.0) for name in SHOWN}})
        line = {
            **recipe.record(part.name),
            "epoch": epoch + 1,
            "learning_rate": rate,
            "loss": loss if math.isfinite(loss) else None,
            **{name: round(value, 3) for name, value in history[-1]["validation"].items()},
            "seconds": round(trained - begun, 2),
            "scoring_seconds": round(time.perf_counter() - trained, 2),
            "ended": is_over(options, history) or not math.isfinite(loss),
            "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        }
        if epoch == 0:
            line["configuration"] = {"model": asdict(recipe.model), "training": asdict(options)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{name}={value}" for name, value in line.items() if name != "configuration"), flush=True)
        if line["ended"]:
            return


if __name__ == "__main__":
    main()
