"""The trainings of a comparison: each method with each seed, in a run folder of its own, within a budget of time."""

from __future__ import annotations

import platform
import reprlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from safetensors import safe_open

from tagnn_fast._C import cpu_capability
from tagnn_fast.baselines import BASELINES
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.evaluation.ranks import RankedTargets, rank_model, read_ranks, write_ranks
from tagnn_fast.experiments.budget import Ledger, Meter
from tagnn_fast.files import load_json, replaced_file, write_json
from tagnn_fast.observer import Observer
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import configuration_json
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training.fit import check_same_run, fit
from tagnn_fast.training.stopping import Interrupted

_K = 20  # recommendations that are timed
_ALONE, _TOGETHER = 200, 512  # sessions that are timed one by one, and at once
_WARM_UP = 5
NO_TIME_LEFT = "the budget was spent before it could begin"
_MEASURED = {"single_ms", "batched_ms", "numbers", "bytes", "machine"}


@dataclass(frozen=True)
class Trial:
    """One method with one seed.

    Attributes:
        method: its name.
        seed: 0 for a method without randomness.
        options: of :func:`tagnn_fast.fit`, by name.
    """

    method: str
    seed: int
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.method}, seed {self.seed}" if is_random(self.method) else self.method

    @property
    def path(self) -> str:
        """Of its run in the folder of the comparison."""
        return f"runs/{quote(self.method, safe='').replace('.', '%2E')}/seed-{self.seed}"


@dataclass(frozen=True)
class Ended:
    """What a trial came to.

    Attributes:
        trial: which.
        configuration: all options of its run by name, the defaults too, but for the seed.
        ranked: ranks of the test targets, and their figures.
        validation: figures of the sessions held out, in percent; empty where none are.
        training_seconds: what its epochs took, or counting, without what was scored after them.
        single_ms: to answer one session, the median, in milliseconds.
        batched_ms: to answer each of many sessions at once, in milliseconds.
        numbers: how many were learnt or are stored.
        bytes: size of the file that has them.
        machine: where the times were measured.
        weights: of a blend, what each member weighs.
    """

    trial: Trial
    configuration: Mapping[str, Any]
    ranked: RankedTargets
    validation: Mapping[str, float]
    training_seconds: float
    single_ms: float
    batched_ms: float
    numbers: int
    bytes: int
    machine: str
    weights: Sequence[float] = ()


@dataclass(frozen=True)
class LeftOut:
    """A trial that has no figures, and why."""

    method: str
    seed: int
    reason: str


def is_random(method: str) -> bool:
    """Whether the seed matters: baselines count."""
    return method not in BASELINES


def run_trial(trial: Trial, folder: Path, dataset: Dataset, ledger: Ledger, observer: Observer) -> Ended | LeftOut:
    """Train, score the test set once, and measure; or take what an earlier call has left of that.

    Args:
        trial: which.
        folder: of the comparison.
        dataset: what is trained on.
        ledger: the time that training has taken so far, and may.
        observer: told how it goes.

    Raises:
        KeyboardInterrupt: on request, after a checkpoint.
        OSError, ValueError: see :func:`tagnn_fast.fit`, also where an earlier call has left a run of other options.
    """
    path = folder / trial.path
    if (path / "result.json").exists():
        check_same_run(open_run(path), dataset, trial.options)
    else:
        _record(path).unlink(missing_ok=True)  # of a run that is no longer there
        left_out = _train(trial, path, dataset, ledger, observer)
        if left_out is not None:
            observer.say(f"{trial.name}: left out, {left_out.reason}")
            return left_out
    return measured(trial, open_run(path), dataset, observer)


def measured(trial: Trial, run: Run, dataset: Dataset, observer: Observer) -> Ended:
    """What an ended run came to, measured unless an earlier call has."""
    record = _record(run.folder)
    ranked = _ranks(run, dataset, observer)
    if not record.exists():
        observer.stage(f"{trial.name}: time of a recommendation")
        write_json(record, _measure(run, dataset.train))
    result = {} if run.result is None else run.result
    seconds = sum(epoch["training_seconds"] for epoch in run.history)
    weights = result.get("weights", [])
    parts = configuration_json(run.model, run.training).values()
    configuration = {name: value for part in parts for name, value in part.items() if name != "seed"}
    validation = result.get("validation", {})
    return Ended(trial, configuration, ranked, validation, seconds, **_measured(record), weights=weights)


def _record(path: Path) -> Path:
    """Where it stands what a run costs."""
    return path.with_name(f"{path.name}.json")


def _train(trial: Trial, path: Path, dataset: Dataset, ledger: Ledger, observer: Observer) -> LeftOut | None:
    """Train a trial to its end; or why it has none."""
    if not (path / "config.json").exists():
        ledger.forget(trial.path)
    if ledger.spent:
        return LeftOut(trial.method, trial.seed, _no_time_left(path))
    meter = Meter(observer, trial.name, trial.path, ledger)
    try:
        fit(dataset, path, config=trial.options, observer=meter)
    except Interrupted:
        if not meter.stopped:
            raise
        return LeftOut(trial.method, trial.seed, _no_time_left(path))
    except (FloatingPointError, MemoryError) as error:
        return LeftOut(trial.method, trial.seed, str(error) or type(error).__name__)
    finally:
        meter.tick()
        ledger.write()
    return None


def _no_time_left(path: Path) -> str:
    """Why a training that has begun or not has no figures."""
    if not (path / "config.json").exists():
        return NO_TIME_LEFT
    return f"the budget was spent before it had ended, after {len(open_run(path).history)} epochs"


def _ranks(run: Run, dataset: Dataset, observer: Observer) -> RankedTargets:
    """Of the look at the end of training; where that has left none, of another, which is logged."""
    examples = PrefixExamples(dataset.test)
    try:
        return read_ranks(run.test_ranks, len(examples))
    except FileNotFoundError:
        pass
    with replaced_file(run.test_ranks) as temporary:
        observer.begin("test", len(examples))
        ranked = rank_model(run.recommender(), examples, observer.advance)
        write_ranks(ranked, temporary)
        run.log_test_read("compare", dataset.name, ranked.figures)
    return ranked


def _measured(record: Path) -> dict[str, Any]:
    """What :func:`_measure` gave."""
    content = load_json(record)
    if not isinstance(content, dict) or content.keys() != _MEASURED:
        raise ValueError(f"{record}: expected {', '.join(sorted(_MEASURED))}, got {reprlib.repr(content)}")
    return content


def _measure(run: Run, sessions: Sessions) -> dict[str, Any]:
    """The fields of :class:`Ended` that say what a method costs."""
    recommender = run.recommender()
    files, shapes = [one.weights for one in run.open_members() or [run]], []
    for path in files:
        with safe_open(path, "pt") as file:
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (no mapping)
    latest = sessions.slice(max(0, len(sessions) - _TOGETHER), len(sessions))
    alone = [latest.slice(place, place + 1) for place in range(max(0, len(latest) - _ALONE), len(latest))]
    return {
        "single_ms": statistics.median(_times(recommender, alone)),
        "batched_ms": statistics.median(_times(recommender, [latest] * 3)) / len(latest),
        "numbers": sum(torch.Size(shape).numel() for shape in shapes),
        "bytes": sum(path.stat().st_size for path in files),
        "machine": _machine(),
    }


def _times(recommender: Recommender, batches: Sequence[Sessions]) -> list[float]:
    """Milliseconds to answer each of some batches; of training sessions, so that it is no look at the test set."""

    def answer(batch: Sessions) -> float:
        items, start = batch.clicks.long(), time.perf_counter()
        recommender.topk(items, batch.offsets, _K)
        return 1000 * (time.perf_counter() - start)

    for batch in batches[:_WARM_UP]:
        answer(batch)
    return [answer(batch) for batch in batches]


def _machine() -> str:
    """Processor, instruction set and threads."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text(errors="replace").splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    return f"{name}, {cpu_capability()}, {torch.get_num_threads()} threads"
