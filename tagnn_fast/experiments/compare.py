"""Methods side by side on one data set, under one protocol, from one call that goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from tagnn_fast.baselines import BASELINES
from tagnn_fast.checks import check_count, check_path, differing
from tagnn_fast.data.dataset import Dataset, read_dataset, write_dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.experiments.budget import Ledger, seconds_of
from tagnn_fast.experiments.compare_blends import blend_trials, run_blend
from tagnn_fast.experiments.compare_markdown import markdown
from tagnn_fast.experiments.compare_report import report
from tagnn_fast.experiments.compare_results import Comparison, make_comparison
from tagnn_fast.experiments.compare_trials import Ended, Trial, is_random, run_trial
from tagnn_fast.extras import needed_by
from tagnn_fast.files import exclusive, read_json, remove_leftovers, write_json, write_text
from tagnn_fast.nn.architectures import BUILT_IN
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown
from tagnn_fast.runs.configuration import TrainingConfig
from tagnn_fast.runs.methods import method_names
from tagnn_fast.training.fit import plan
from tagnn_fast.training.options import with_config

ComparedProtocol = Literal["held-out", "held-out-refit", "all"]
METHODS = (*BASELINES, *BUILT_IN)
_FORMAT, _VERSION = "tagnn_fast.compared", 1
_OPTIONS = "compared.json"  # what was asked for
_DATA = "data"  # folder of a data set that was in none


@needed_by("compare")
def compare(
    data: Dataset | str | Path,
    folder: str | Path,
    models: Sequence[str] = METHODS,
    *,
    seeds: int = 3,
    budget: str | None = None,
    protocol: ComparedProtocol | None = None,
    configs: Mapping[str, str | Path | Mapping[str, Any]] | None = None,
    blends: Sequence[str] = (),
    observer: Observer | None = None,
) -> Comparison:
    """Train methods under one protocol, score the test set once with each, and say which is best.

    Each method with each seed is a run in ``FOLDER/runs/METHOD/seed-N``, made by :func:`tagnn_fast.fit`. Stopped or
    killed at any time, the same call goes on where it was, and comes to the same figures. Methods without randomness
    run once, and first; then each network once, before any has a second seed.

    Writes ``report.html`` (one file, needs no network), ``report.md`` and ``results.json`` to the folder. They are made
    anew by each call, from ranks of targets that the runs keep, without another look at the test set.

    Args:
        data: the data set, or its folder. Of one that is in no folder, the comparison keeps a copy in its own.
        folder: of the comparison. If there is one of the same data set and options, it goes on.
        models: names of baselines and architectures, each once; all that the package has, if not given.
        seeds: how often each method with randomness is trained: with seeds 0, 1, ...
        budget: time for all trainings and their validation, over all calls, such as ``"90s"``, ``"30m"`` or ``"2h"``: a
            training that it ends is left out of the figures, and the report says so. It may differ from call to call:
            what was left out goes on with more. No limit if not given.
        protocol: which sessions are trained on and which choose the epoch, of all methods; the default of
            :func:`tagnn_fast.fit` if not given.
        configs: by method, options of :func:`tagnn_fast.fit` by name, or a JSON or TOML file of them.
        blends: ensembles of a method's seeds, such as ``"tagnn_pp"``, and hybrids of two methods with each seed, such
            as ``"tagnn_pp+vstan"``: runs in ``FOLDER/blends`` that :func:`tagnn_fast.blend` makes, in the figures
            beside the methods. They may differ from call to call; one of which a member is left out is so, too.
        observer: told how it goes; a progress bar if not given. ``Observer()`` shows nothing.

    Raises:
        TypeError, ValueError: on an option or a method that is refused, a data set without test sessions of two clicks,
            or a comparison in `folder` of other options, naming what differs. Nothing is written then.
        FileExistsError: where `folder` is something else.
        BlockingIOError: where another process makes this comparison.
        KeyboardInterrupt: after a checkpoint, see :func:`tagnn_fast.fit`; the same call goes on.
        ModuleNotFoundError: without the extra ``tagnn_fast[train]``, which is named.
        OSError: where something cannot be written.
    """
    from tagnn_fast.experiments.compare_html import page  # here, so that what it needs is missed before any training

    dataset = data if isinstance(data, Dataset) else read_dataset(check_path(data, "data", "a data set or its folder"))
    folder = check_path(folder, "folder", "a path").absolute()
    if len(PrefixExamples(dataset.test)) == 0:
        raise ValueError(f"{dataset.name}: expected test sessions of two clicks or more, got none")
    limit = None if budget is None else seconds_of(budget)
    options = _options(models, seeds, protocol, {} if configs is None else configs)
    trials = _trials(options)
    blended = blend_trials(blends, trials, options["protocol"])
    for trial in trials:
        plan(dataset, trial.options)
    with exclusive(folder), shown(observer) as told:
        dataset = _begin(folder, dataset, options)
        ledger = Ledger(folder / "seconds.json", limit)
        outcomes = [run_trial(trial, folder, dataset, ledger, told) for trial in trials]
        ended = {outcome.trial.path for outcome in outcomes if isinstance(outcome, Ended)}
        outcomes += [run_blend(trial, folder, dataset, ended, ledger, told) for trial in blended]
        told.stage("tests and report")
        comparison = make_comparison(dataset, options["protocol"], outcomes, limit, ledger.total)
        blocks = list(report(comparison))
        write_json(folder / "results.json", comparison.to_json())
        write_text(folder / "report.md", markdown(blocks))
        write_text(folder / "report.html", page(blocks))
    return comparison


def _options(
    models: Sequence[str],
    seeds: int,
    protocol: str | None,
    configs: Mapping[str, str | Path | Mapping[str, Any]],
) -> dict[str, Any]:
    """What was asked for, checked, as JSON has it."""
    known = method_names()
    if isinstance(models, str) or not isinstance(models, Iterable) or not all(isinstance(one, str) for one in models):
        raise TypeError(f"models: expected names, got {models!r}")
    if not isinstance(configs, Mapping):
        raise TypeError(f"configs: expected options or files by method, got {configs!r}")
    names = list(models)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"models: expected some of {', '.join(known)}, got {unknown[0]!r}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models: expected one and more, each once, got {', '.join(names) or 'none'}")
    protocol = TrainingConfig().protocol if protocol is None else protocol
    if protocol not in get_args(ComparedProtocol):
        raise ValueError(f"protocol: expected one of {', '.join(get_args(ComparedProtocol))}, got {protocol!r}")
    read = {}
    for name, config in configs.items():
        if name not in names:
            raise ValueError(f"configs: expected some of the models {', '.join(names)}, got {name!r}")
        read[name] = with_config(config, {})
        if read[name].get("architecture", name) != name:
            raise ValueError(f"configs: expected options of {name}, got those of {read[name]['architecture']}")
        for option, value in (("protocol", protocol), ("seed", None)):
            if read[name].get(option, value) != value:
                raise ValueError(f"configs: expected no {option} of {name}'s own, got {read[name][option]!r}")
    return {"models": names, "seeds": check_count(seeds, "seeds"), "protocol": protocol, "configs": read}


def _trials(options: Mapping[str, Any]) -> list[Trial]:
    """In the order in which they run."""
    trials = []
    for seed in range(options["seeds"]):
        for name in sorted(options["models"], key=is_random):
            given = {**options["configs"].get(name, {}), "architecture": name, "protocol": options["protocol"]}
            if is_random(name):
                trials.append(Trial(name, seed, {**given, "seed": seed}))
            elif seed == 0:
                trials.append(Trial(name, seed, given))
    return trials


def _begin(folder: Path, dataset: Dataset, options: Mapping[str, Any]) -> Dataset:
    """The data set, as the runs are to find it, of a comparison that is new or the same as before.

    Raises:
        FileExistsError: where the folder has something else.
        ValueError: where it has a comparison of another data set or other options, naming what differs.
    """
    wanted = {"dataset": dataset.fingerprint(), "times": dataset.times_fingerprint() or False, **options}
    path = folder / _OPTIONS
    if path.exists():
        found = {"times": False, **read_json(path, _FORMAT, _VERSION)}
        if others := differing(found, wanted):
            raise ValueError(
                f"{folder}: expected a comparison of this data set and these options to go on with, got one with "
                f"{others}; another folder makes a new one"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder}: expected a folder of a comparison, or one that does not exist yet")
        write_json(path, {"format": _FORMAT, "version": _VERSION, **wanted})
    remove_leftovers(folder)
    if dataset.folder is not None:
        return dataset
    own = folder / _DATA
    return read_dataset(own) if own.exists() else write_dataset(dataset, own)
