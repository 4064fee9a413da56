"""A tuning under way: one trial after the other, with what the best of them is after each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.experiments.tune_options import Options
from tagnn_fast.experiments.tune_results import Tuning, shown_value
from tagnn_fast.experiments.tune_study import Study
from tagnn_fast.experiments.tune_trial import GivenUp, remove_run, train_trial
from tagnn_fast.files import load_json, write_json
from tagnn_fast.observer import Observer


class Tuner:
    """A tuning under way.

    Attributes:
        tuning: the trials so far.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Dataset,
        options: Options,
        metric: str,
        wanted: int,
        study: Study,
        observer: Observer,
    ) -> None:
        self._folder, self._dataset, self._options, self._metric = folder, dataset, options, metric
        self._wanted, self._study, self._observer = wanted, study, observer
        self.tuning = self._write()

    def take_trial(self) -> None:
        """Train one more configuration to its end, or until it is given up."""
        number = len(self.tuning.trials) + 1
        run = self._folder / f"running-{number:04d}"
        for other in self._folder.glob("running-*"):
            if other != run:  # its trial has ended
                remove_run(other)
        trial = self._study.begin()
        same = next((one for one in self.tuning.ranking if one.options == trial.params), None)
        if same is not None and same.value is not None:  # it would give the same again
            self._study.complete(trial, same.value, figures=same.figures, epochs=same.epochs, seconds=0.0)
        else:
            self._train(trial, run, number)
        if run.exists():
            remove_run(run)
        self.tuning = self._write()
        self._observer.say(self._last_line())

    def _train(self, trial: optuna.Trial, run: Path, number: int) -> None:
        start = time.perf_counter()
        arguments = self._options.arguments(trial.params)
        told = _Numbered(self._observer, f"trial {number} of {self._wanted}")
        try:
            result = train_trial(self._dataset, run, arguments, trial, self._metric, told)
        except GivenUp as given_up:
            self._study.give_up(trial, str(given_up), **self._keep_history(run, number, start))
        else:
            figures = result["validation"]
            kept = self._keep_history(run, number, start)
            self._study.complete(trial, figures[self._metric], figures=figures, **kept)

    def _keep_history(self, run: Path, number: int, start: float) -> dict[str, Any]:
        """Keep what the epochs gave; how many there were, and what the trial took."""
        path = run / "history.json"
        history = load_json(path) if path.exists() else []
        write_json(self._folder / "histories" / f"{number:04d}.json", history)
        return {"epochs": len(history), "seconds": round(time.perf_counter() - start, 2)}

    def _write(self) -> Tuning:
        """The trials so far, and their files."""
        tuning = Tuning(self._folder, self._options.model, self._metric, self._wanted, self._study.trials())
        tuning.write_trials()
        if tuning.best is not None:
            write_json(tuning.config, self._options.configuration(tuning.best.options))
        return tuning

    def _last_line(self) -> str:
        trial, best = self.tuning.trials[-1], self.tuning.best
        outcome = f"{self._metric} {trial.value:.2f}" if trial.value is not None else f"given up, {trial.reason}"
        options = ", ".join(f"{name} {shown_value(value)}" for name, value in trial.options.items())
        line = f"trial {trial.number}: {outcome}, {trial.seconds:,.1f} s ({options})"
        return f"{line}; best so far" if trial is best else line


class _Numbered(Observer):
    """Says which trial it is that goes on."""

    def __init__(self, observer: Observer, trial: str) -> None:
        self._observer, self._trial = observer, trial

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        self._observer.begin(f"{self._trial}, {what}", examples, done)

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        self._observer.advance(examples, loss)

    def stage(self, what: str) -> None:
        """See the base class."""
        self._observer.stage(f"{self._trial}, {what}")
