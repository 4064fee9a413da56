"""Comparisons: figures by their definitions, one look at the test set, what is refused, what a budget leaves out."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tagnn_fast
from tagnn_fast.data import Dataset, PrefixExamples, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.evaluation.ranks import rank_model
from tagnn_fast.evaluation.significance import paired_tests
from tagnn_fast.experiments.compare import METHODS, compare
from tagnn_fast.experiments.compare_results import Comparison
from tagnn_fast.files import exclusive
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training.recipes import DEFAULT_PRESET, PRESETS
from tests.cli.commands import looks_at_test_set, read, refused, succeed
from tests.experiments.comparisons import CONFIGS, DATA, MODELS, QUIET, SMALL, Stops, results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return compare(DATA, folder / "whole", MODELS, seeds=2, configs=CONFIGS, observer=QUIET)


def runs_of(folder: Path, method: str) -> list[Run]:
    return [open_run(path.parent) for path in sorted((folder / "runs" / method).glob("*/result.json"))]


def test_figures_are_those_of_the_runs(comparison: Comparison, folder: Path) -> None:
    """By another pass over the test set with each run's weights; over seeds by their definitions."""
    examples = PrefixExamples(DATA.test)
    assert (comparison.examples, comparison.cutoff) == (len(examples), 20)
    for method in comparison.methods:
        runs = runs_of(folder / "whole", method.name)
        assert [run.training.seed for run in runs] == list(method.seeds) == [0, 1][: len(runs)]
        assert len(runs) == {"sr_gnn": 2, "vs_knn": 1}[method.name]
        ranked = [rank_model(run.recommender(), examples) for run in runs]
        for metric, found in method.figures.items():
            values = [{**of_seed.figures, **of_seed.lists}[metric] for of_seed in ranked]
            assert found.values == values
            assert found.mean == pytest.approx(np.mean(values))
            deviation = None if len(values) == 1 else pytest.approx(np.std(values, ddof=1))
            assert found.deviation == deviation
        chosen = [run.result["validation"]["MRR@20"] for run in runs if run.result is not None]
        assert method.validation["MRR@20"].values == chosen
        for groups in method.groups.values():
            sizes = comparison.groups[next(title for title, of in method.groups.items() if of is groups)]
            mean = sum(sizes[group] * found["HR@20"] for group, found in groups.items() if found is not None)
            assert mean / len(examples) == pytest.approx(method.figures["HR@20"].mean)
        assert method.numbers == sum(value.numel() for value in runs[0].recommender().model.state_dict().values())
        assert all(time.mean > 0 for time in method.times.values())
        seconds = [sum(epoch["training_seconds"] for epoch in run.history) for run in runs]
        assert method.times["training_seconds"].values == seconds


def test_tests_are_of_means_over_seeds(comparison: Comparison, folder: Path) -> None:
    examples = PrefixExamples(DATA.test)
    values = {}
    for method in comparison.methods:
        runs = runs_of(folder / "whole", method.name)
        ranks = torch.stack([rank_model(run.recommender(), examples).ranks for run in runs]).double()
        values[method.name] = torch.where(ranks > 0, 100 / ranks.clamp(min=1), 0).mean(0).numpy()
    (expected,) = paired_tests(values, examples.session_numbers().numpy())
    found = comparison.test("MRR@20", expected.first, expected.second)
    assert dataclasses.astuple(found)[2:] == pytest.approx(dataclasses.astuple(expected)[2:])
    turned = comparison.test("MRR@20", expected.second, expected.first)
    assert (turned.difference, turned.low, turned.high) == (-found.difference, None, None)  # of few sessions
    means = {method.name: method.figures["MRR@20"].mean for method in comparison.methods}
    assert found.difference == pytest.approx(means[found.first] - means[found.second])


def test_one_look_each(comparison: Comparison, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call makes the same report again, with nothing but what is there."""
    whole = folder / "whole"
    before, written = results(whole), {name: (whole / name).read_bytes() for name in ("report.md", "report.html")}
    for needed in ("fit", "rank_model", "_measure"):
        monkeypatch.setattr(f"tagnn_fast.experiments.compare_trials.{needed}", None)
    for name in written:
        (whole / name).unlink()
    again = compare(DATA, whole, MODELS, seeds=2, configs=CONFIGS, observer=QUIET)
    assert again == comparison
    assert results(whole) == before
    assert {name: (whole / name).read_bytes() for name in written} == written
    runs = [run for method in MODELS for run in runs_of(whole, method)]
    assert [len(looks_at_test_set(run.folder)) for run in runs] == [1] * 3


def test_ranks_that_are_lost(comparison: Comparison, folder: Path) -> None:
    """Another look, which is logged."""
    run = open_run(folder / "whole/runs/sr_gnn/seed-1")
    run.test_ranks.unlink()
    again = compare(DATA, folder / "whole", MODELS, seeds=2, configs=CONFIGS, observer=QUIET)
    assert again == comparison
    assert [look["reader"] for look in run.test_reads()] == ["train", "compare"]
    assert run.test_reads()[0]["figures"] == run.test_reads()[1]["figures"]


def test_a_run_that_is_removed(comparison: Comparison, folder: Path) -> None:
    """Is made again, and its time is that of the new one."""
    shutil.copytree(folder / "whole", folder / "removed")
    shutil.rmtree(folder / "removed/runs/vs_knn/seed-0")
    times = read(folder / "removed/seconds.json")
    (folder / "removed/seconds.json").write_text(json.dumps({**times, "runs/vs_knn/seed-0": 1e6}))
    found = compare(DATA, folder / "removed", **other())
    assert found.seconds < 1e6
    assert results(folder / "removed") == results(folder / "whole")


def test_defaults_that_have_changed(comparison: Comparison, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that nobody gave are part of a trial: seeds of two networks are not those of one method."""
    assert [method.configuration["item_dropout"] for method in comparison.methods if method.name == "sr_gnn"] == [0.2]
    monkeypatch.setitem(PRESETS[DEFAULT_PRESET], "item_dropout", 0.3)
    with pytest.raises(
        ValueError, match=r"sr_gnn.seed-0: expected a run of .*, got one with item_dropout 0\.2 instead"
    ):
        compare(DATA, folder / "whole", **other())


@pytest.mark.parametrize("name", ["compared.json", "seconds.json", "runs/sr_gnn/seed-1.json"])
@pytest.mark.parametrize("content", ["{", "[1]", '{"format": "x"}'])
def test_damaged_files(name: str, content: str, comparison: Comparison, folder: Path) -> None:
    """Are named in a line."""
    path = folder / "whole" / name
    before = path.read_text()
    path.write_text(content)
    try:
        with pytest.raises(ValueError, match=f"{path.name}: expected"):
            compare(DATA, folder / "whole", **other())
    finally:
        path.write_text(before)


def test_what_is_printed(comparison: Comparison) -> None:
    printed = str(comparison)
    for part in (*MODELS, "HR@20", " ± ", "one session", "By MRR@20", "95% interval"):
        assert part in printed
    frame = comparison.to_pandas()
    assert list(frame.index) == [method.name for method in comparison.methods]
    assert (
        frame.loc["sr_gnn", "HR@20 deviation"]
        == next(method for method in comparison.methods if method.name == "sr_gnn").figures["HR@20"].deviation
    )


def other(**changes: Any) -> dict[str, Any]:
    return {"models": MODELS, "seeds": 2, "configs": CONFIGS, "observer": QUIET, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 3}, "seeds 2 instead of 3"),
        ({"models": MODELS[:1], "configs": {"sr_gnn": SMALL}}, r"models \['sr_gnn', 'vs_knn'\] instead of"),
        ({"protocol": "all"}, "protocol 'held-out[a-z-]*' instead of 'all'"),
        ({"configs": {"sr_gnn": SMALL}}, "configs "),
    ],
)
def test_another_comparison_in_its_folder(
    changes: dict[str, Any], message: str, comparison: Comparison, folder: Path
) -> None:
    with pytest.raises(ValueError, match=f"expected a comparison of this data set and these options.*{message}"):
        compare(DATA, folder / "whole", **other(**changes))


def test_another_data_set_in_its_folder(comparison: Comparison, folder: Path) -> None:
    with pytest.raises(ValueError, match="expected a comparison of this data set.* dataset "):
        compare(synthetic_dataset(1_200, 60, seed=1), folder / "whole", **other())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": []}, "models: expected one and more, each once, got none"),
        ({"models": ["sr_gnn", "sr_gnn"]}, "models: expected one and more, each once"),
        ({"models": ["gru4rec"]}, "models: expected some of .*vs_knn.*, got 'gru4rec'"),
        ({"models": "sr_gnn"}, "models: expected names"),
        ({"models": None}, "models: expected names, got None"),
        ({"seeds": 0}, "seeds: expected 1 or more"),
        ({"budget": "2 days"}, "budget: expected a time"),
        ({"protocol": "published"}, "protocol: expected one of held-out"),
        ({"configs": "small.json"}, "configs: expected options or files by method, got 'small.json'"),
        ({"configs": {"tagnn": SMALL}}, "configs: expected some of the models"),
        ({"configs": {"sr_gnn": {"seed": 3}}}, "configs: expected no seed of sr_gnn's own, got 3"),
        ({"configs": {"sr_gnn": {"protocol": "published"}}}, "configs: expected no protocol of sr_gnn's own"),
        ({"configs": {"sr_gnn": {"architecture": "tagnn"}}}, "configs: expected options of sr_gnn, got those of tagnn"),
        ({"configs": {"sr_gnn": {"hidden": 8}}}, "expected options of fit"),
        ({"configs": {"sr_gnn": {"hidden_size": -1}}}, "hidden_size: expected 1 or more"),
        ({"configs": {"vs_knn": {"epochs": 3}}}, "epochs: expected no such option for vs_knn"),
        ({"configs": {"vs_knn": {"options": {"neighbors": 3}}}}, "options: expected what vs_knn takes"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises((TypeError, ValueError), match=message):
        compare(DATA, tmp_path / "new", **other(**changes))
    assert list(tmp_path.iterdir()) == []


def test_paths_of_other_types(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="^data: expected a data set or its folder, got 3$"):
        compare(3, tmp_path / "new", **other())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^folder: expected a path, got None$"):
        compare(DATA, None, **other())  # type: ignore[arg-type]


def test_what_plots_need_is_missed_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines can be fitted without it."""
    for module in ("compare_html", "compare_plots"):
        monkeypatch.delitem(sys.modules, f"tagnn_fast.experiments.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"^compare needs matplotlib: pip install 'tagnn_fast\[train\]'$"):
        compare(DATA, tmp_path / "new", ["popularity"], observer=QUIET)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_and_data(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(FileExistsError, match="expected a folder of a comparison"):
        compare(DATA, tmp_path, **other())
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    none = dataclasses.replace(DATA, test=Sessions.from_lists([[1], [2]]), raw_test=None)
    with pytest.raises(ValueError, match="expected test sessions of two clicks or more, got none"):
        compare(none, tmp_path / "new", **other())


def test_two_processes(comparison: Comparison, folder: Path) -> None:
    with exclusive(folder / "whole"), pytest.raises(BlockingIOError, match="expected a folder that no other process"):
        compare(DATA, folder / "whole", **other())


def test_stopped_on_request(comparison: Comparison, folder: Path) -> None:
    """Again and again, in training and in scoring: the same in the end."""
    stops = 0
    while True:
        try:
            found = compare(DATA, folder / "stopped", **other(observer=Stops(15)))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 1
    assert results(folder / "stopped") == results(folder / "whole")
    assert [method.figures for method in found.methods] == [method.figures for method in comparison.methods]


def test_budget(comparison: Comparison, folder: Path) -> None:
    """What it ends has no figures, and says so; with more, the same call goes on to the same figures."""
    short = compare(DATA, folder / "budget", **other(budget="0.001s"))
    assert short.methods == []
    trials = [("vs_knn", 0), ("sr_gnn", 0), ("sr_gnn", 1)]  # those that run once first
    assert [(left.method, left.seed) for left in short.left_out] == trials
    assert "before it had ended" in short.left_out[0].reason
    assert {left.reason for left in short.left_out[1:]} == {"the budget was spent before it could begin"}
    report = (folder / "budget/report.md").read_text()
    assert "No method has any figures yet." in report
    assert "before it had ended" in report
    assert not list((folder / "budget").rglob("test_reads.jsonl"))
    spent = sum(read(folder / "budget/seconds.json").values())
    assert 0.001 <= spent == pytest.approx(short.seconds, abs=0.01)
    some = compare(DATA, folder / "budget", **other(budget=f"{spent + 0.05:.3f}s"))
    assert some.left_out
    whole = compare(DATA, folder / "budget", **other(budget="10m"))
    assert whole.seconds > spent
    assert results(folder / "budget") == results(folder / "whole")


def test_a_training_that_diverges(tmp_path: Path) -> None:
    """Is left out, and the others stay."""
    configs = {**CONFIGS, "sr_gnn": {**SMALL, "learning_rate": 1e30}}
    found = compare(DATA, tmp_path / "new", MODELS, seeds=1, configs=configs, observer=QUIET)
    assert [method.name for method in found.methods] == ["vs_knn"]
    assert [(left.method, left.seed) for left in found.left_out] == [("sr_gnn", 0)]
    assert "diverged" in found.left_out[0].reason
    assert found.tests == {"HR@20": [], "MRR@20": []}
    assert "diverged" in (tmp_path / "new/report.html").read_text()


def write_configs(folder: Path) -> list[str]:
    arguments = list[str]()
    for name, options in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(options))
        arguments += ["--config", f"{name}={folder / name}.json"]
    return arguments


def test_the_command_line(comparison: Comparison, folder: Path, tmp_path: Path) -> None:
    """The same, of a data set in a folder."""
    dataset: Dataset = write_dataset(DATA, tmp_path / "data")
    arguments = ("compare", dataset.folder, tmp_path / "new", "--models", ",".join(MODELS), "--seeds", 1)
    configs = write_configs(tmp_path)
    printed = succeed(*arguments, *configs)
    assert "By MRR@20, vs_knn is best" in printed
    assert printed.strip().endswith(f"wrote {tmp_path / 'new/report.html'}")
    for found, expected in zip(results(tmp_path / "new")["methods"], comparison.methods, strict=True):
        for metric, value in expected.figures.items():
            assert found["figures"][metric]["values"] == value.values[:1]
    assert not (tmp_path / "new/data").exists()
    assert "seeds 1 instead of 3" in refused(*arguments[:-1], 3, *configs)
    assert refused(*arguments, "--config", "sr_gnn") == "--config: expected NAME=FILE, got 'sr_gnn'"
    twice = refused(*arguments, *configs, *configs)
    assert twice == "--config: expected each name once, got sr_gnn twice"


def test_all_methods_are_the_default() -> None:
    assert {"popularity", "vs_knn", "tagnn_pp", "sr_gnn"} <= set(METHODS)
    assert tagnn_fast.compare is compare
