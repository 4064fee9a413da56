"""A tuning under way: one trial after the other, with what the best of them is after each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.experiments.budget import Ledger
from tagnn_fast.experiments.tune_options import Options
from tagnn_fast.experiments.tune_results import Tuning, shown_value
from tagnn_fast.experiments.tune_study import Study
from tagnn_fast.experiments.tune_trial import BudgetSpent, GivenUp, remove_run, train_trial
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
        ledger: Ledger,
        observer: Observer,
    ) -> None:
        self._folder, self._dataset, self._options, self._metric = folder, dataset, options, metric
        self._wanted, self._study, self._ledger, self._observer = wanted, study, ledger, observer
        self.tuning = self._write()

    def take_trials(self) -> None:
        """Try configurations until as many have ended as are wanted, or the budget is spent."""
        try:
            while len(self.tuning.trials) < self._wanted and not self._ledger.spent:
                self._take_trial()
        except BudgetSpent:
            pass  # the trial goes on where there is more

    def _take_trial(self) -> None:
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
        arguments, name = self._options.arguments(trial.params), f"trial {number}"
        try:
            result = train_trial(self._dataset, run, arguments, trial, name, self._metric, self._ledger, self._observer)
        except GivenUp as given_up:
            self._study.give_up(trial, str(given_up), **self._kept(run, number, name))
        else:
            figures, kept = result["validation"], self._kept(run, number, name)
            self._study.complete(trial, figures[self._metric], figures=figures, **kept)

    def _kept(self, run: Path, number: int, name: str) -> dict[str, Any]:
        """How many epochs there were, of which a file is kept, and what the trial took."""
        path = run / "history.json"
        history = load_json(path) if path.exists() else []
        write_json(self._folder / "histories" / f"{number:04d}.json", history)
        return {"epochs": len(history), "seconds": self._ledger.seconds.get(name, 0.0)}

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
