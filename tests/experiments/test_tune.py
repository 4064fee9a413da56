"""Tuning begins with the defaults, draws the same from the same seed, and gives a configuration that `fit` takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

import tagnn_fast
from tagnn_fast import register_architecture
from tagnn_fast.data import Dataset, read_dataset, synthetic_dataset
from tagnn_fast.experiments.tune import METRICS
from tagnn_fast.experiments.tune_options import choose_options
from tagnn_fast.experiments.tune_results import Tuning
from tagnn_fast.nn import SRGNN
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.nn.search_space import RECIPE_SPACE, Choice, Real, SearchSpace
from tagnn_fast.observer import Observer
from tagnn_fast.runs.methods import find_method, method_names
from tagnn_fast.training.fit import plan
from tagnn_fast.training.recipes import DEFAULT_PRESET, PRESETS
from tests.cli.commands import read
from tests.experiments.tunings import FIX, small_dataset, small_tuning, trials_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("tune"))


@pytest.fixture(scope="module")
def tuned(dataset: Dataset) -> Tuning:
    assert dataset.folder is not None
    return small_tuning(dataset, dataset.folder.parent / "tuned")


def own_architecture(monkeypatch: pytest.MonkeyPatch, space: SearchSpace) -> str:
    """The name of an SR-GNN with another space."""
    monkeypatch.setitem(ARCHITECTURES, "own", SRGNN)
    register_architecture("own", type("Own", (SRGNN,), {"search_space": space}))
    return "own"


def test_begins_with_the_defaults(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    first, best = tuned.trials[0], tuned.best
    config, _ = plan(dataset, {"architecture": "sr_gnn"})
    assert first.options == {
        "learning_rate": 1e-3,
        "weight_decay": 1e-5,
        **{name: getattr(config, name) for name in ("rounds", "hybrid", "readout_softmax", *RECIPE_SPACE)},
    }
    assert best is not None
    assert best.value == max(trial.value for trial in tuned.trials if trial.value is not None)
    run = tagnn_fast.fit(dataset, tmp_path / "run", architecture="sr_gnn", observer=Observer(), **FIX)
    assert run.result is not None
    assert run.result["validation"] == first.figures
    assert set(METRICS) < first.figures.keys()


def test_the_best_is_a_configuration(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    """Which gives the same again, to the bit, and only then is the test set read."""
    assert tuned.best is not None
    assert read(tuned.config) == {"architecture": "sr_gnn", **FIX, **tuned.best.options}
    run = tagnn_fast.fit(dataset, tmp_path / "run", config=tuned.config, observer=Observer())
    assert run.result is not None
    assert run.result["validation"] == tuned.best.figures
    assert len(run.test_reads()) == 1


def test_what_is_left(tuned: Tuning) -> None:
    """No weights, no checkpoints."""
    names = sorted(str(path.relative_to(tuned.folder)) for path in tuned.folder.rglob("*") if path.is_file())
    histories = [f"histories/{number:04d}.json" for number in range(1, 4)]
    assert names == ["best.json", *histories, "seconds.json", "study.db", "trials.csv", "tune.json"]
    assert [len(read(tuned.folder / name)) for name in histories] == [2, 2, 2]
    with (tuned.folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    frame = tuned.to_pandas()
    assert [float(row["value"]) for row in rows] == list(frame["value"]) == [trial.value for trial in tuned.trials]
    assert list(rows[0]) == list(frame.columns)
    shown = str(tuned)
    assert tuned.best is not None
    for text in ("sr_gnn by MRR@20", "learning_rate", f"{tuned.best.value:.2f}", "3 of 3 trials"):
        assert text in shown
    study = optuna.load_study(storage=f"sqlite:///{tuned.folder / 'study.db'}", study_name=None)
    assert study.best_value == tuned.best.value


def test_the_same_seed(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    assert dataset.folder is not None
    assert trials_of(small_tuning(dataset.folder, tmp_path / "same")) == trials_of(tuned)
    other = small_tuning(dataset, tmp_path / "other", seed=1, trials=2)
    assert other.trials[0].options == tuned.trials[0].options
    assert other.trials[1].options != tuned.trials[1].options


def test_goes_on(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    """To the number that was asked for, and no further; a budget that is used up stops it before."""
    for _ in range(2):
        none = small_tuning(dataset, tmp_path / "a", budget="0.000001s")
        assert (none.trials, none.best, none.config.exists()) == ([], None, False)
    assert list(read(tmp_path / "a" / "running-0001" / "history.json")) == []
    assert str(none) == "0 of 3 trials\nthe budget is spent; the same with more goes on"
    assert trials_of(small_tuning(dataset, tmp_path / "a", trials=2)) == trials_of(tuned)[:2]
    assert trials_of(small_tuning(dataset, tmp_path / "a")) == trials_of(tuned)
    assert trials_of(small_tuning(dataset, tmp_path / "a", trials=1)) == trials_of(tuned)


def test_defaults_that_have_changed(tuned: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that are neither fixed nor searched for are those of the trials so far, too."""
    data = tuned.folder.parent / "data"
    monkeypatch.setitem(PRESETS[DEFAULT_PRESET], "warmup_steps", 7)
    with pytest.raises(
        ValueError, match="expected a tuning of the same to go on with, got one with others .*warmup_steps"
    ):
        small_tuning(data, tuned.folder)
    written = tuned.folder / "tune.json"
    before = written.read_text()
    written.write_text(before.replace('"version": 2', '"version": 1'))
    try:
        with pytest.raises(ValueError, match="got one of an earlier version; another folder makes a new one"):
            small_tuning(data, tuned.folder)
    finally:
        written.write_text(before)


def test_what_is_tried_first(dataset: Dataset, tmp_path: Path) -> None:
    """A mapping, in either form, or a file; what they do not say is the default."""
    (tmp_path / "start.json").write_text(json.dumps({"architecture": "sr_gnn", "rounds": 2, "epochs": 2}))
    start = [{"rounds": 3}, tmp_path / "start.json"]
    tuning = small_tuning(dataset, tmp_path / "a", start=start, trials=3)
    default = dict(tuning.trials[0].options)
    assert [trial.options for trial in tuning.trials] == [default, {**default, "rounds": 3}, {**default, "rounds": 2}]


def test_gives_up_below_the_median(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = own_architecture(monkeypatch, {"learning_rate": Real(1e-9, 1e-2, log=True)})
    rates = [1e-2, 9e-3, 8e-3, 7e-3, 1e-9]  # after the default
    start = [{"learning_rate": rate} for rate in rates]
    tuning = small_tuning(dataset, tmp_path / "a", model, start=start, trials=6, fix={**FIX, "epochs": 3})
    last = tuning.trials[-1]
    assert [trial.reason for trial in tuning.trials[:-1]] == [""] * 5
    assert (last.reason, last.value, last.figures, last.epochs) == ("below the median after epoch 2", None, {}, 2)
    assert len(read(tuning.folder / "histories/0006.json")) == 2
    assert not list(tuning.folder.glob("running-*"))
    assert last not in tuning.ranking
    assert "6 of 6 trials, 1 of them given up" in str(tuning)
    study = optuna.load_study(storage=f"sqlite:///{tuning.folder / 'study.db'}", study_name=None)
    assert study.trials[-1].state == TrialState.PRUNED
    assert sorted(study.trials[-1].intermediate_values) == [1, 2]


@pytest.mark.parametrize(
    ("space", "start", "fix", "reason"),
    [
        ({"learning_rate": Choice([1e-3, 1e30])}, {"learning_rate": 1e30}, {}, "training diverged"),
        ({"heads": Choice([1, 2, 4])}, {"heads": 4}, {"hidden_size": 6}, "heads: expected a divisor of hidden_size 6"),
    ],
    ids=["diverges", "does not go together"],
)
def test_gives_up_what_comes_to_nothing(
    space: SearchSpace,
    start: dict[str, Any],
    fix: dict[str, Any],
    reason: str,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    model = "tagnn_pp" if "heads" in space else own_architecture(monkeypatch, space)
    tuning = small_tuning(dataset, tmp_path / "a", model, start=[start], trials=2, fix={**FIX, **fix})
    first, second = tuning.trials
    assert tuning.best is first
    assert (second.value, reason in second.reason) == (None, True)


def test_the_same_configuration_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is not trained again."""
    model = own_architecture(monkeypatch, {"hybrid": Choice([False, True])})
    tuning = small_tuning(dataset, tmp_path / "a", model, start=[{"hybrid": False}], trials=4)
    trained = {trial.options["hybrid"]: trial for trial in tuning.trials[:2]}
    for trial in tuning.trials[2:]:
        same = trained[trial.options["hybrid"]]
        assert (trial.value, trial.figures, trial.epochs, trial.seconds) == (same.value, same.figures, same.epochs, 0.0)
    assert len(list((tuning.folder / "histories").iterdir())) == 2


def test_a_catalogue_shorter_than_the_lists(tmp_path: Path) -> None:
    """The metric is that of lists of all items."""
    tuning = small_tuning(synthetic_dataset(900, 12), tmp_path / "a", trials=1)
    assert tuning.best is not None
    assert tuning.metric == "MRR@12"
    assert tuning.best.value == tuning.best.figures["MRR@12"]
    assert "MRR@12" in str(tuning)


class Poison:
    """Sessions that nothing may look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} of the test sessions was looked at")


class Watching(Observer):
    """Looks for traces of a look at a test set, at every batch."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.batches = folder, 0

    def advance(self, examples: int, loss: float | None = None) -> None:
        self.batches += 1
        assert not list(self.folder.rglob("test_reads.jsonl"))
        # A run keeps a copy of a data set that is in no folder.
        assert [pq.read_metadata(path).num_rows for path in self.folder.rglob("*test*.parquet")] in ([], [0])


@pytest.mark.parametrize("given", ["folder", "dataset", "in memory"])
def test_never_reads_the_test_set(given: str, tuned: Tuning, tmp_path: Path) -> None:
    """With poison in its place, the trials are the same."""
    dataset = small_dataset(tmp_path)
    for name in ("test.parquet", "raw_test.parquet"):
        (tmp_path / "data" / name).write_bytes(b"poison")
    with pytest.raises(ValueError, match="damaged"):
        read_dataset(tmp_path / "data")
    data: Dataset | Path = tmp_path / "data"
    if given != "folder":
        object.__setattr__(dataset, "test", Poison())
        object.__setattr__(dataset, "raw_test", Poison())
        if given == "in memory":
            object.__setattr__(dataset, "folder", None)
        data = dataset
    observer = Watching(tmp_path / "a")
    tuning = small_tuning(data, tmp_path / "a", observer=observer, trials=2)
    assert observer.batches > 10
    assert trials_of(tuning) == trials_of(tuned)[:2]
    assert not list(tmp_path.rglob("test_reads.jsonl"))


@pytest.mark.parametrize("method", [name for name in method_names() if find_method(name).search_space])
def test_defaults_are_in_the_space(method: str, dataset: Dataset) -> None:
    """Of every method that has options to tune."""
    options = choose_options(dataset.without_test(), method, {}, [])
    assert options.first[0].keys() == find_method(method).search_space.keys()


@pytest.mark.parametrize("method", ["vs_knn", "sequential_rules"])
def test_baselines(method: str, dataset: Dataset, tmp_path: Path) -> None:
    tuning = small_tuning(dataset, tmp_path / "a", method, fix={}, trials=5)
    default, best = tuning.trials[0], tuning.best
    assert best is not None
    assert best.value is not None
    assert default.value is not None
    assert best.value >= default.value
    assert read(tuning.config) == {"architecture": method, "options": dict(best.options)}
    for trial, options in ((best, {"config": tuning.config}), (default, {"architecture": method})):
        run = tagnn_fast.fit(dataset, tmp_path / str(trial.number), observer=Observer(), **options)
        assert run.result is not None
        assert run.result["validation"] == trial.figures
