"""Fitting a baseline: no epochs and nothing to go on with, but the protocols, files and looks of a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.ranks import RankedTargets, rank_model
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.files import clear_up, remove_leftovers, write_json
from tagnn_fast.memory import enough_memory
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.observer import Observer
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import BASELINE_FIELDS, PROTOCOLS, TrainingConfig, make_baseline
from tagnn_fast.runs.run import Run
from tagnn_fast.training.loggers import Logger, LoggerName, logged
from tagnn_fast.training.protocols import check_times, make_protocol, protocol_of
from tagnn_fast.training.stopping import Interrupted
from tagnn_fast.training.test_set import earlier_look, look_at_test_set

_EPOCH = 1  # under which its weights, its record and its look at the test set stand


def plan_baseline(
    dataset: Dataset, options: Mapping[str, Any], before: Run | None
) -> tuple[ModelConfig, TrainingConfig]:
    """The configuration of a baseline's run; refuses what would fail later, and what means nothing for one.

    Args:
        dataset: what is to be fitted on.
        options: of :func:`tagnn_fast.fit`, by name, without those that are None.
        before: the run to start from, if any.

    Raises:
        TypeError, ValueError: on any of them that is refused.
    """
    name = options["architecture"]
    if refused := ["start_from"] * (before is not None) + sorted(options.keys() - BASELINE_FIELDS):
        raise ValueError(
            f"{', '.join(refused)}: expected no such option for {name}, which counts instead of being trained; "
            f"it takes protocol and options of its own"
        )
    training = TrainingConfig(**{key: options[key] for key in ("architecture", "protocol") if key in options})
    if training.protocol.startswith("published"):
        sound = [other for other in PROTOCOLS if not other.startswith("published")]
        raise ValueError(f"protocol: expected one of {', '.join(sound)} for {name}, got {training.protocol!r}")
    model = ModelConfig(len(dataset.vocabulary), options=options.get("options", {}))
    make_protocol(training.protocol, dataset, training.seed)
    make_baseline(model, training)
    return model, training


def fit_baseline(
    run: Run,
    dataset: Dataset,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    loggers: Sequence[LoggerName | Logger] = (),
) -> dict[str, Any]:
    """Fit a run's baseline, from the beginning, and score it; a run that has ended stays as it is.

    Args:
        run: the run folder.
        dataset: the data set that it was made with.
        observer: told how it goes.
        stop: asked after each batch of what is scored.
        loggers: told what it gave; see :func:`tagnn_fast.fit`.

    Returns:
        What is in ``result.json``, which are figures, and the seconds that the fit of what is kept took.

    Raises:
        Interrupted: after `stop` said so.
        MemoryError: where there is not enough memory.
        OSError: where a file cannot be written, another process fits the run, or a logger cannot be opened.
        ValueError: on another data set.
    """
    with run.lock(), enough_memory(f"fitting {run.training.architecture}"):
        clear_up(run.folder)
        remove_leftovers(run.folder)
        run.check_dataset(dataset)
        check_times(run, dataset)
        with logged(run, loggers, observer or Observer()) as told:
            return run.result or _Fitting(run, dataset, told, stop).run_to_end()


class _Fitting:
    def __init__(self, run: Run, dataset: Dataset, observer: Observer, stop: Callable[[], bool]) -> None:
        self.run, self.dataset, self.observer, self.stop = run, dataset, observer, stop
        self.history: list[dict[str, Any]] = []
        self.protocol = protocol_of(run, dataset)

    def run_to_end(self) -> dict[str, Any]:
        protocol = self.protocol
        result: dict[str, Any] = {"protocol": self.run.training.protocol, "caution": protocol.caution}
        baseline = self._fitted(protocol.train)
        if protocol.validation is not None:
            self.observer.begin(protocol.validation_name, len(protocol.validation))
            result["validation"] = score_model(self._recommender(baseline), protocol.validation, self._advance)
            self.history[0]["validation"] = result["validation"]
        if protocol.refit is not None:
            self.run.keep_model(baseline.state_dict(), _EPOCH)
            self.run.keep_held_out()
            baseline = self._fitted(protocol.refit, refit=True)
            result["refit"] = {"examples": len(protocol.refit)}
        self.run.keep_model(baseline.state_dict(), _EPOCH)
        if len(PrefixExamples(self.dataset.test)) > 0:
            result["test"] = self._test(baseline)
        result["seconds"] = self.history[-1]["training_seconds"]
        write_json(self.run.folder / "history.json", self.history)
        write_json(self.run.folder / "result.json", result)
        return result

    def _fitted(self, examples: PrefixExamples, **more: bool) -> Baseline:
        baseline = make_baseline(self.run.model, self.run.training)
        self.observer.stage(f"fitting {self.run.training.architecture}")
        start = time.perf_counter()
        baseline.fit(examples.sessions)
        self.history.append({"epoch": _EPOCH, "training_seconds": round(time.perf_counter() - start, 3), **more})
        return baseline

    def _test(self, baseline: Baseline) -> dict[str, float]:
        if (figures := earlier_look(self.run, _EPOCH)) is not None:
            return figures
        recommender = self._recommender(baseline)

        def rank(examples: PrefixExamples) -> RankedTargets:
            return rank_model(recommender, examples, self._advance)

        return look_at_test_set(self.run, self.dataset, rank, _EPOCH, self.observer)

    def _recommender(self, baseline: Baseline) -> Recommender:
        return Recommender(baseline, self.run.vocabulary)

    def _advance(self, scored: int) -> None:
        self.observer.advance(scored)
        if self.stop():
            raise Interrupted("stopped; it begins again where it goes on")
