"""One trial: a training by `fit`'s own code, on a data set without test sessions, given up where others did better."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.files import load_json
from tagnn_fast.observer import Observer
from tagnn_fast.runs.configuration import configuration_json
from tagnn_fast.runs.results import Result
from tagnn_fast.runs.run import open_run
from tagnn_fast.training.fit import fit, plan


class GivenUp(Exception):  # noqa: N818 (no error)
    """A trial that is worth no more time, or came to nothing; says why."""


def train_trial(
    dataset: Dataset,
    folder: Path,
    arguments: Mapping[str, Any],
    trial: optuna.Trial,
    metric: str,
    observer: Observer,
) -> Result:
    """Train a configuration to its end, from where it stands if it was begun before.

    Args:
        dataset: without test sessions.
        folder: of the run.
        arguments: options of `fit`.
        trial: told the metric after each epoch.
        metric: of the validation figures.
        observer: told how it goes.

    Raises:
        GivenUp: where trials before did better after as many epochs, training diverged, memory is short, or these
            options do not go together.
        KeyboardInterrupt, OSError: see :func:`tagnn_fast.fit`.
    """
    try:
        model, training = plan(dataset, "clean", arguments)
    except ValueError as error:
        raise GivenUp(str(error)) from None
    if folder.exists() and not _is_whole(folder, configuration_json(model, training)):
        remove_run(folder)
    pruning = _Pruning(trial, folder, metric, training.epochs, observer)
    try:
        run = fit(dataset, folder, **arguments, observer=pruning)
    except (FloatingPointError, MemoryError) as error:
        raise GivenUp(str(error)) from None
    pruning.report()
    result = run.result
    assert result is not None
    return result


def remove_run(folder: Path) -> None:
    """Remove a run's folder; one that was killed meanwhile leaves no run."""
    (folder / "config.json").unlink(missing_ok=True)  # first: a folder without it is no run
    shutil.rmtree(folder)


def _is_whole(folder: Path, configuration: Mapping[str, Any]) -> bool:
    return (folder / "config.json").exists() and open_run(folder).configuration == configuration


class _Pruning(Observer):
    """Tells a trial its figures after each epoch, and gives it up where the median of those before was better."""

    def __init__(self, trial: optuna.Trial, folder: Path, metric: str, epochs: int, observer: Observer) -> None:
        self._trial, self._history, self._metric, self._observer = trial, folder / "history.json", metric, observer
        self._last, self._told = epochs, 0

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        self._observer.begin(what, examples, done)

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        self._observer.advance(examples, loss)

    def stage(self, what: str) -> None:
        """See the base class."""
        self._observer.stage(what)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class."""
        self.report()
        if record["epoch"] < self._last and self._trial.should_prune():
            raise GivenUp(f"below the median after epoch {record['epoch']}")

    def report(self) -> None:
        """Tell of all epochs so far, of which some may be from before the process was killed."""
        history = load_json(self._history)
        for record in history[self._told :]:
            self._trial.report(record["validation"][self._metric], record["epoch"])
        self._told = len(history)
