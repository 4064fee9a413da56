"""The trials of a tuning as Optuna keeps and draws them: a SQLite file, which a process may be killed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from tagnn_fast.experiments.tune_results import Trial
from tagnn_fast.nn.search_space import Choice, Real, SearchSpace, Whole

NAME = "study.db"
_STUDY = "tuning"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)  # the others were killed or stopped


def create_study(folder: Path) -> None:
    """Make the file of a study without trials."""
    with _quiet(), _storage(folder) as storage:
        optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize")


class Study:
    """An opened study: one process at a time."""

    def __init__(self, study: optuna.Study, space: SearchSpace, first: Sequence[Mapping[str, Any]], seed: int) -> None:
        self._study, self._first, self._seed = study, first, seed
        self._distributions = {name: _distribution(values) for name, values in space.items()}

    def trials(self) -> list[Trial]:
        """Those that have ended, in their order."""
        ended = self._study.get_trials(deepcopy=False, states=_ENDED)
        return [_trial(number, trial) for number, trial in enumerate(ended, start=1)]

    def begin(self) -> optuna.Trial:
        """The next trial.

        What it draws depends on the seed and the trials that have ended, so that one that was killed is drawn again.
        """
        for left in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(left.number, state=TrialState.FAIL)
        ended = len(self._study.get_trials(deepcopy=False, states=_ENDED))
        seed = int(np.random.SeedSequence([self._seed, ended]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=False)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if ended < len(self._first) and not waiting:  # else it was killed before it began
            self._study.enqueue_trial(dict(self._first[ended]))
        return self._study.ask(self._distributions)

    def complete(self, trial: optuna.Trial, value: float, **told: Any) -> None:
        """End a trial with what it came to."""
        self._end(trial, told, value, TrialState.COMPLETE)

    def give_up(self, trial: optuna.Trial, reason: str, **told: Any) -> None:
        """End a trial that is worth no more time, or came to nothing."""
        self._end(trial, {"reason": reason, **told}, None, TrialState.PRUNED)

    def _end(self, trial: optuna.Trial, told: Mapping[str, Any], value: float | None, state: TrialState) -> None:
        for name, content in told.items():
            trial.set_user_attr(name, content)
        self._study.tell(trial, value, state)


@contextmanager
def open_study(folder: Path, space: SearchSpace, first: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Study]:
    """The study in a folder.

    Args:
        folder: that :func:`create_study` was called on.
        space: to draw from.
        first: what is tried first.
        seed: of what is drawn.

    Raises:
        FileNotFoundError: where its file is missing.
        OSError: where it is damaged, or cannot be written in the block.
        ValueError: where it is a file of something else.
    """
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected this file of the tuning")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    with _quiet(), _storage(folder) as storage:
        try:
            study = optuna.load_study(storage=storage, study_name=_STUDY, pruner=pruner)
        except KeyError:
            raise ValueError(f"{path}: expected the trials of a tuning, got a file without") from None
        yield Study(study, space, first, seed)


@contextmanager
def _storage(folder: Path) -> Iterator[optuna.storages.RDBStorage]:
    path = (folder / NAME).resolve()
    storage = None
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        yield storage
    except (SQLAlchemyError, StorageInternalError) as error:
        raise OSError(f"{path}: {_reason(error)}") from None
    finally:
        if storage is not None:
            storage.engine.dispose()


def _reason(error: BaseException) -> str:
    """What SQLite says, without the statement that it says it of."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's lines are not for those who do not know of it."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _distribution(values: Choice | Whole | Real) -> BaseDistribution:
    if isinstance(values, Choice):
        return CategoricalDistribution(values.values)
    if isinstance(values, Whole):
        return IntDistribution(values.low, values.high, values.log)
    return FloatDistribution(values.low, values.high, values.log)


def _trial(number: int, trial: FrozenTrial) -> Trial:
    told = trial.user_attrs
    return Trial(
        number=number,
        options=trial.params,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        figures=told.get("figures", {}),
        epochs=told.get("epochs", 0),
        seconds=told.get("seconds", 0.0),
        reason=told.get("reason", ""),
    )
