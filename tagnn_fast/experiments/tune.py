"""The search for a method's best options on the validation sessions, without a look at the test set."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from tagnn_fast.checks import check_count, check_path, differing
from tagnn_fast.data.dataset import Dataset, read_dataset
from tagnn_fast.experiments.budget import Ledger, seconds_of
from tagnn_fast.experiments.tune_options import Options, choose_options
from tagnn_fast.experiments.tune_results import Tuning
from tagnn_fast.extras import needed_by
from tagnn_fast.files import exclusive, new_folder, read_json, write_json
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown

FORMAT, VERSION = "tagnn_fast.tuning", 2
Metric = Literal["HR@5", "MRR@5", "NDCG@5", "HR@10", "MRR@10", "NDCG@10", "HR@20", "MRR@20", "NDCG@20"]
METRICS = get_args(Metric)


@needed_by("tune")
def tune(
    data: Dataset | str | Path,
    folder: str | Path,
    model: str,
    *,
    trials: int = 50,
    budget: str | None = None,
    metric: Metric = "MRR@20",
    fix: Mapping[str, Any] | None = None,
    start: Sequence[Mapping[str, Any] | str | Path] = (),
    seed: int = 0,
    observer: Observer | None = None,
) -> Tuning:
    """Try configurations of a method, and keep the best: a new search, or one of the same that stopped.

    Each trial is a run of :func:`tagnn_fast.fit` under the protocol "held-out": it learns from the first nine tenths of
    the training sessions and is scored on the last; test sessions are not read. The first trial is the defaults, so
    that the best is never below them; later ones are drawn from the method's ``search_space``, at random until ten
    trials have ended, then by Optuna's TPE (Bergstra et al., NIPS 2011). A network is given up after its second epoch
    or a later one where its best figure so far is below the median of the trials that went on to the end, from the
    fifth of these on. So is one whose training diverges, that needs too much memory, or whose options do not go
    together.

    The folder has ``best.json``, a configuration that `fit` and ``tagnn-fast train`` take as ``config``;
    ``trials.csv``; ``histories/``, what the epochs of each trial gave; ``seconds.json``, what each took; ``tune.json``,
    what was asked for; and ``study.db``, which ``optuna.load_study`` opens. The same call goes on where a process was
    stopped or killed, in the midst of a trial too, to the same trials as if it had never been.

    Args:
        data: the data set, or its folder.
        folder: of the tuning, a new one or one to go on with.
        model: name of the method, as `fit` takes it for architecture.
        trials: that are to end, those of calls before among them.
        budget: time for all trials together, over all calls, such as ``"90s"``, ``"30m"`` or ``"2h"``: the trial that
            it ends goes on with more. No limit if not given.
        metric: of the validation figures, what is to be high.
        fix: options by name that have the same value in each trial, of `fit` or of the method itself.
        start: configurations to try after the defaults, as `fit` takes them for config: mappings or files.
        seed: of what is drawn; the trainings have their own, which `fix` may set.
        observer: told how it goes; a progress bar and a line for each trial if not given.

    Returns:
        The trials so far, with the best first.

    Raises:
        TypeError, ValueError: on an argument that is refused, or a tuning in `folder` of something else, naming what
            differs. Nothing is written then.
        FileExistsError: where `folder` is something else.
        BlockingIOError: where another process is at it.
        KeyboardInterrupt: on Ctrl-C; the same call goes on.
        ModuleNotFoundError: without the extra ``tagnn_fast[tune]``, which is named.
        OSError: see :func:`tagnn_fast.fit`.
    """
    wanted = check_count(trials, "trials")
    limit = None if budget is None else seconds_of(budget)
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    seed = check_count(seed, "seed", 0)
    folder = check_path(folder, "folder", "a path").absolute()
    if isinstance(data, Dataset):
        dataset = data.without_test()
    else:
        dataset = read_dataset(check_path(data, "data", "a data set or its folder"), test=False)
    options = choose_options(dataset, model, {} if fix is None else fix, start)
    from tagnn_fast.experiments.tune_loop import Tuner
    from tagnn_fast.experiments.tune_study import create_study, open_study

    asked = _asked(dataset, options, metric, seed)
    with exclusive(folder):
        if (folder / "tune.json").exists():
            _check_same(folder, asked)
        else:
            with new_folder(folder) as temporary:
                create_study(temporary)
                (temporary / "histories").mkdir()
                content = {"format": FORMAT, "version": VERSION, "created": _now(), "asked": asked}
                write_json(temporary / "tune.json", content)
        with open_study(folder, options.space, options.first, seed) as study, shown(observer) as told:
            ledger = Ledger(folder / "seconds.json", limit)
            tuner = Tuner(folder, dataset, options, _scored(metric, dataset), wanted, study, ledger, told)
            tuner.take_trials()
            return tuner.tuning


def _scored(metric: str, dataset: Dataset) -> str:
    """The metric as figures name it: no list is longer than the catalogue."""
    name, cutoff = metric.split("@")
    return f"{name}@{min(int(cutoff), len(dataset.vocabulary))}"


def _asked(dataset: Dataset, options: Options, metric: str, seed: int) -> dict[str, Any]:
    """What must be the same for a tuning to go on, as JSON."""
    asked = {
        "dataset": f"{dataset.name} {dataset.fingerprint()[:16]}",
        "times": dataset.times_fingerprint(),
        "model": options.model,
        "metric": metric,
        "seed": seed,
        "fix": options.fixed,
        "first": options.first,
        "others": options.others,
        "space": {name: str(values) for name, values in options.space.items()},
    }
    return dict(json.loads(json.dumps(asked)))


def _check_same(folder: Path, asked: Mapping[str, Any]) -> None:
    path = folder / "tune.json"
    content = read_json(path, FORMAT, VERSION)
    found = content.get("asked")
    if content["version"] < VERSION:
        raise ValueError(
            f"{folder}: expected a tuning that says all options of its trials, got one of an earlier version; another "
            "folder makes a new one"
        )
    if not isinstance(found, dict) or found.keys() != asked.keys():
        raise ValueError(f"{path}: expected what was asked for, got {reprlib.repr(found)}")
    if others := differing(found, asked):
        raise ValueError(
            f"{folder}: expected a tuning of the same to go on with, got one with {others}; another "
            "folder makes a new one"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
