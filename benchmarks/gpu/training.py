"""An epoch, and a whole training, on a GPU: the steps of `tagnn-fast train`, without its files."""

from __future__ import annotations

import json
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.calls import BATCH
from benchmarks.inputs import diginetica
from tagnn_fast.data import Dataset, PrefixExamples
from tagnn_fast.data.examples import ExampleBatch, shuffled
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import TrainingConfig, configuration_from_json, make_model
from tagnn_fast.training.protocols import make_protocol
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.schedule import learning_rate
from tagnn_fast.training.steps import ResidentSteps, make_optimizer, matrix_precision, set_learning_rate
from tests.support import ROOT

ON_CPU = ROOT / "reports" / "diginetica-held-out"  # a run on the CPU, to be matched


class PlainFabric:
    """What steps need of Lightning Fabric, which need not be installed here."""

    def __init__(self, precision: str) -> None:
        self.device = torch.device("cuda", 0)
        self.mixed = precision == "bf16-mixed"

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if self.mixed else nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def to_device(self, batch: ExampleBatch) -> ExampleBatch:
        return ExampleBatch(*(value.to(self.device) for value in batch))


class Training:
    """A model in training, epoch by epoch."""

    def __init__(self, model: ModelConfig, options: TrainingConfig, examples: PrefixExamples) -> None:
        torch.manual_seed(options.seed)
        self.options, self.examples = options, examples
        self.history: list[dict[str, Any]] = []
        fabric: Any = PlainFabric(options.precision)
        self.model: SessionModel = make_model(model, options).to(fabric.device)
        optimizer = make_optimizer(self.model, options.weight_decay, fabric.device)
        self.optimizer = optimizer
        self.steps = ResidentSteps(fabric, self.model, optimizer, examples, options.batch_size)

    def run_epoch(self) -> dict[str, Any]:
        """Number, seconds and mean loss of the next epoch."""
        start, epoch = time.perf_counter(), len(self.history)
        set_learning_rate(self.optimizer, learning_rate(self.options, self.history))
        self.model.train()
        count, size = len(self.examples), self.options.batch_size
        loss_sum = torch.zeros((), dtype=torch.float64, device="cuda")
        with matrix_precision(self.options.precision, torch.device("cuda")):
            self.steps.begin_epoch(shuffled(count, self.options.seed, epoch))
            for number in range(math.ceil(count / size)):
                loss_sum += self.steps.take(number).double() * min(size, count - number * size)
        loss = float(loss_sum) / count
        self.history.append({"epoch": epoch + 1, "seconds": time.perf_counter() - start, "loss": loss})
        return self.history[-1]

    def evaluate(self, examples: PrefixExamples, data: Dataset) -> dict[str, float]:
        """Its figures on other examples."""
        return score_model(Recommender(self.model, data.vocabulary), examples)


def time_epoch(folder: Path, run: str | None) -> dict[str, Any]:
    """The second and third epoch over all training examples, in float32 and in mixed precision."""
    data = diginetica()
    examples = PrefixExamples(data.train)
    table, rows = {"data": f"{data.name}, {len(examples):,} examples, batches of {BATCH}"}, []
    for precision in ("32-true", "bf16-mixed"):
        overrides = {"protocol": "all", "batch_size": BATCH, "precision": precision}
        training = Training(*resolve("clean", overrides, len(data.vocabulary), 0), examples)
        for _ in range(3):
            rows.append({"precision": precision, **training.run_epoch()})
            print(rows[-1], flush=True)
        best = min(row["seconds"] for row in rows[-2:])
        rate = len(examples) / best
        table[f"epoch, {precision}"] = f"{best:.2f} s, {rate:,.0f} examples/s, loss {rows[-1]['loss']:.4f}"
    return {"table": table, "rows": rows}


def time_training(folder: Path, run: str | None) -> dict[str, Any]:
    """The run of reports/diginetica-held-out once more, from nothing to test figures, with time for each part."""
    data = diginetica()
    model, on_cpu = configuration_from_json(json.loads((ON_CPU / "config.json").read_text()), ON_CPU)
    model = replace(model, num_items=len(data.vocabulary))
    figures_on_cpu = json.loads((ON_CPU / "test_reads.jsonl").read_text().splitlines()[-1])["figures"]
    table, rows = {"data": data.name, "on the CPU, test": _figures(figures_on_cpu)}, []
    for precision in ("32-true", "bf16-mixed"):
        options = replace(on_cpu, precision=precision)
        start = time.perf_counter()
        protocol = make_protocol(options.protocol, data, options.seed)
        training = Training(model, options, protocol.train)
        best, weights = -1.0, training.model.state_dict()
        for _ in range(options.epochs):
            row = training.run_epoch()
            assert protocol.validation is not None
            row["validation"] = validation = training.evaluate(protocol.validation, data)
            rows.append({"precision": precision, **row})
            print(rows[-1], flush=True)
            if validation["MRR@20"] > best:
                best = validation["MRR@20"]
                weights = {name: value.clone() for name, value in training.model.state_dict().items()}
        total = time.perf_counter() - start
        training.model.load_state_dict(weights)
        test = training.evaluate(PrefixExamples(data.test), data)
        rows.append({"precision": precision, "test": test, "total seconds": total})
        spent = sum(row["seconds"] for row in rows if row["precision"] == precision and "seconds" in row)
        described = f"{total:.1f} s with validation, {spent:.1f} s in {options.epochs} epochs"
        table[f"trained, {precision}"] = f"{described}; test {_figures(test)}"
    return {"table": table, "rows": rows}


def _figures(figures: dict[str, float]) -> str:
    return f"HR@20 {figures['HR@20']:.2f}, MRR@20 {figures['MRR@20']:.2f}"
