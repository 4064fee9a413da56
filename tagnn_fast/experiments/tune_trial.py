"""One trial: a training by `fit`'s own code, on a data set without test sessions, given up where others did better."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.experiments.budget import Ledger, Meter
from tagnn_fast.files import load_json
from tagnn_fast.observer import Observer
from tagnn_fast.runs.configuration import configuration_json
from tagnn_fast.runs.results import Result
from tagnn_fast.runs.run import open_run
from tagnn_fast.training.fit import fit, plan
from tagnn_fast.training.stopping import Interrupted


class GivenUp(Exception):  # noqa: N818 (no error)
    """A trial that is worth no more time, or came to nothing; says why."""


class BudgetSpent(Exception):  # noqa: N818 (no error)
    """A trial that has not ended before the budget did."""


def train_trial(
    dataset: Dataset,
    folder: Path,
    arguments: Mapping[str, Any],
    trial: optuna.Trial,
    name: str,
    metric: str,
    ledger: Ledger,
    observer: Observer,
) -> Result:
    """Train a configuration to its end, from where it stands if it was begun before.

    Args:
        dataset: without test sessions.
        folder: of the run.
        arguments: options of `fit`.
        trial: told the metric after each epoch.
        name: of the trial, for people and for the ledger.
        metric: of the validation figures.
        ledger: the time that trials have taken so far, and may.
        observer: told how it goes.

    Raises:
        GivenUp: where trials before did better after as many epochs, training diverged, memory is short, or these
            options do not go together.
        BudgetSpent: after a checkpoint.
        KeyboardInterrupt, OSError: see :func:`tagnn_fast.fit`.
    """
    try:
        model, training = plan(dataset, arguments)
    except ValueError as error:
        raise GivenUp(str(error)) from None
    if folder.exists() and not _is_whole(folder, configuration_json(model, training)):
        remove_run(folder)
    pruning = _Pruning(observer, name, ledger, trial, metric, folder / "history.json", training.epochs)
    try:
        result = fit(dataset, folder, **arguments, observer=pruning).result
    except Interrupted:
        if pruning.stopped:
            raise BudgetSpent from None
        raise
    except (FloatingPointError, MemoryError) as error:
        raise GivenUp(str(error) or type(error).__name__) from None
    finally:
        pruning.tick()
        ledger.write()
    pruning.report()
    assert result is not None
    return result


def remove_run(folder: Path) -> None:
    """Remove a run's folder; one that was killed meanwhile leaves no run."""
    (folder / "config.json").unlink(missing_ok=True)  # first: a folder without it is no run
    shutil.rmtree(folder)


def _is_whole(folder: Path, configuration: Mapping[str, Any]) -> bool:
    return (folder / "config.json").exists() and open_run(folder).configuration == configuration


class _Pruning(Meter):
    """Tells a trial its figures after each epoch, and gives it up where the median of those before was better."""

    def __init__(
        self,
        observer: Observer,
        name: str,
        ledger: Ledger,
        trial: optuna.Trial,
        metric: str,
        history: Path,
        epochs: int,
    ) -> None:
        super().__init__(observer, name, name, ledger)
        self._trial, self._metric, self._history, self._epochs = trial, metric, history, epochs
        self._told = 0

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class; what a killed process had not decided yet is decided first."""
        super().begin(what, examples, done)
        if self._told == 0 and self._history.exists():
            self._decide()

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class; epochs have no lines of their own, trials have."""
        self.tick()
        self._decide()

    def _decide(self) -> None:
        self.report()
        if self._told < self._epochs and self._trial.should_prune():
            raise GivenUp(f"below the median after epoch {self._told}")

    def report(self) -> None:
        """Tell of all epochs so far, of which some may be from before the process was killed."""
        history = load_json(self._history)
        for record in history[self._told :]:
            self._trial.report(record["validation"][self._metric], record["epoch"])
        self._told = len(history)
