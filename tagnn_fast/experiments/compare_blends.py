"""The ensembles and hybrids of a comparison, of runs that it has trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.experiments.budget import Ledger, Meter
from tagnn_fast.experiments.compare_trials import NO_TIME_LEFT, Ended, LeftOut, Trial, is_random, measured
from tagnn_fast.observer import Observer
from tagnn_fast.runs.configuration import VALIDATED
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training.blend import check_blend, make_blend
from tagnn_fast.training.stopping import Interrupted


@dataclass(frozen=True)
class BlendTrial(Trial):
    """An ensemble of a method's seeds, or a hybrid of two methods with one seed.

    Attributes:
        members: the trials whose runs it is made of.
    """

    members: Sequence[Trial] = ()

    @property
    def name(self) -> str:
        """For people."""
        alone = len(self._methods) == 1 or not any(map(is_random, self._methods))
        return self.method if alone else f"{self.method}, seed {self.seed}"

    @property
    def path(self) -> str:
        """Of its run in the folder of the comparison."""
        return f"blends/{quote('+'.join(self._methods), safe='+').replace('.', '%2E')}/seed-{self.seed}"

    @property
    def _methods(self) -> list[str]:
        return list(dict.fromkeys(one.method for one in self.members))


def blend_trials(blends: Sequence[str], trials: Sequence[Trial], protocol: str) -> list[BlendTrial]:
    """Of ``"tagnn_pp"``, the ensemble of its seeds; of ``"tagnn_pp+vstan"``, a hybrid with each seed.

    Args:
        blends: such texts.
        trials: of the comparison.
        protocol: of all of them.

    Raises:
        TypeError: on anything but texts.
        ValueError: on methods that are not compared, one without seeds, more than two, or a blend twice.
    """
    if isinstance(blends, str) or not isinstance(blends, Iterable) or not all(isinstance(one, str) for one in blends):
        raise TypeError(f"blends: expected names of methods with + between them, got {blends!r}")
    seeds: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.seed):
        seeds.setdefault(trial.method, []).append(trial)
    made: list[BlendTrial] = []
    known: list[set[str]] = []
    for text in blends:
        names = [name.strip() for name in text.split("+")]
        if unknown := [name for name in names if name not in seeds]:
            raise ValueError(f"blends: expected some of the models {', '.join(seeds)}, got {unknown[0]!r} in {text!r}")
        if len(names) > 2 or len(set(names)) < len(names):
            raise ValueError(f"blends: expected one method, or two others with + between them, got {text!r}")
        if len(names) == 1:
            if len(seeds[names[0]]) < 2:
                raise ValueError(f"blends: expected a method with two seeds and more for an ensemble, got {text!r}")
            found = [BlendTrial(f"ensemble of {names[0]}", 0, {}, seeds[names[0]])]
        else:
            if protocol not in VALIDATED:
                raise ValueError(
                    "blends: expected a protocol that holds out sessions to choose a hybrid's weight on, got "
                    f"{protocol}"
                )
            method = f"hybrid of {names[0]} and {names[1]}"
            found = [
                BlendTrial(method, seed, {}, [seeds[name][seed if is_random(name) else 0] for name in names])
                for seed in range(max(len(seeds[name]) for name in names))
            ]
        if set(names) in known:
            raise ValueError(f"blends: expected each once, got {text!r} twice")
        known.append(set(names))
        made += found
    return made


def run_blend(
    trial: BlendTrial, folder: Path, dataset: Dataset, ended: Collection[str], ledger: Ledger, observer: Observer
) -> Ended | LeftOut:
    """Choose its weight, score the test set once, and measure; or take what an earlier call has left of that.

    Args:
        trial: which.
        folder: of the comparison.
        dataset: that its members were trained on.
        ended: paths of the trials that have figures.
        ledger: the time that has been taken so far, and may; choosing takes some.
        observer: told how it goes.

    Raises:
        KeyboardInterrupt: on request.
        OSError, ValueError: see :func:`tagnn_fast.blend`.
    """
    run = _blended(trial, folder, dataset, ended, ledger, observer)
    if isinstance(run, LeftOut):
        observer.say(f"{trial.name}: left out, {run.reason}")
        return run
    return measured(trial, run, dataset, observer)


def _blended(
    trial: BlendTrial, folder: Path, dataset: Dataset, ended: Collection[str], ledger: Ledger, observer: Observer
) -> Run | LeftOut:
    if missing := [member.name for member in trial.members if member.path not in ended]:
        return LeftOut(trial.method, trial.seed, f"{' and '.join(missing)} left out")
    path = folder / trial.path
    if not (path / "config.json").exists():
        ledger.forget(trial.path)
    has_ended = (path / "result.json").exists()
    if ledger.spent and not has_ended:
        return LeftOut(trial.method, trial.seed, NO_TIME_LEFT)
    meter = Meter(observer, trial.name, trial.path, ledger)
    try:
        methods = check_blend([open_run(folder / member.path) for member in trial.members])
        return make_blend(methods, path, dataset, observer if has_ended else meter)
    except Interrupted:
        if not meter.stopped:
            raise
        return LeftOut(trial.method, trial.seed, "the budget was spent before it had ended")
    except (FileNotFoundError, FloatingPointError, MemoryError) as error:  # no weights that know no session held out
        return LeftOut(trial.method, trial.seed, str(error) or type(error).__name__)
    finally:
        if not has_ended:
            meter.tick()
            ledger.write()
