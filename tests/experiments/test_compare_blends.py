"""Comparisons with ensembles and hybrids of what they have trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tagnn_fast.data import PrefixExamples
from tagnn_fast.evaluation.ranks import rank_model
from tagnn_fast.experiments.compare import compare
from tagnn_fast.experiments.compare_results import Comparison
from tagnn_fast.runs.run import open_run
from tests.cli.commands import looks_at_test_set, read, succeed
from tests.experiments.comparisons import CONFIGS, DATA, MODELS, QUIET, Stops, results

BLENDS = ["sr_gnn", "sr_gnn+vs_knn"]
ENSEMBLE, HYBRID = "ensemble of sr_gnn", "hybrid of sr_gnn and vs_knn"


def options(**changes: Any) -> dict[str, Any]:
    return {"models": MODELS, "seeds": 2, "configs": CONFIGS, "observer": QUIET, **changes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blends")


@pytest.fixture(scope="module")
def without(folder: Path) -> Comparison:
    return compare(DATA, folder / "whole", **options())


@pytest.fixture(scope="module")
def comparison(without: Comparison, folder: Path) -> Comparison:
    """Of the same folder, that had none before."""
    return compare(DATA, folder / "whole", **options(blends=BLENDS))


def test_figures_are_those_of_the_runs(comparison: Comparison, without: Comparison, folder: Path) -> None:
    examples = PrefixExamples(DATA.test)
    methods = {method.name: method for method in comparison.methods}
    assert methods.keys() == {*MODELS, ENSEMBLE, HYBRID}
    assert [method for method in comparison.methods if method.name in MODELS] == list(without.methods)
    assert (methods[ENSEMBLE].seeds, methods[HYBRID].seeds) == ([0], [0, 1])
    for name, path in ((ENSEMBLE, "sr_gnn"), (HYBRID, "sr_gnn+vs_knn")):
        runs = [open_run(folder / f"whole/blends/{path}/seed-{seed}") for seed in methods[name].seeds]
        ranked = [rank_model(run.recommender(), examples) for run in runs]
        for metric, found in methods[name].figures.items():
            assert found.values == [{**one.figures, **one.lists}[metric] for one in ranked]
        assert methods[name].weights == [read(run.weights)["weights"] for run in runs]
        assert [len(looks_at_test_set(run.folder)) for run in runs] == [1] * len(runs)
        assert methods[name].validation.keys() == methods["sr_gnn"].validation.keys()
    networks, neighbours = methods["sr_gnn"], methods["vs_knn"]
    assert methods[HYBRID].numbers == networks.numbers + neighbours.numbers
    assert methods[HYBRID].bytes == networks.bytes + neighbours.bytes
    assert methods[ENSEMBLE].numbers == 2 * networks.numbers
    training = methods[ENSEMBLE].times["training_seconds"].mean
    assert training == pytest.approx(sum(networks.times["training_seconds"].values), abs=0.01)
    assert comparison.test("MRR@20", HYBRID, "vs_knn").p_value >= 0


def test_what_the_report_says(comparison: Comparison, folder: Path) -> None:
    report = (folder / "whole/report.md").read_text()
    for part in (ENSEMBLE, HYBRID, "Ensembles rank items by the mean", "weights 0.5 + 0.5"):
        assert part in report
    assert HYBRID in str(comparison)


def test_again_and_without(comparison: Comparison, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chosen or scored again; a call without blends reports none."""
    before = results(folder / "whole")
    monkeypatch.setattr("tagnn_fast.training.blend.weigh", None)
    for needed in ("fit", "rank_model", "_measure"):
        monkeypatch.setattr(f"tagnn_fast.experiments.compare_trials.{needed}", None)
    printed = compare(DATA, folder / "whole", **options())
    assert {method.name for method in printed.methods} == set(MODELS)
    assert compare(DATA, folder / "whole", **options(blends=BLENDS)) == comparison
    assert results(folder / "whole") == before


def test_command(folder: Path, comparison: Comparison) -> None:
    data, configs = folder / "whole/data", list[object]()
    for name in MODELS:
        (folder / f"{name}.json").write_text(json.dumps(CONFIGS[name]))
        configs += ["--config", f"{name}={folder / name}.json"]
    blends = [argument for text in BLENDS for argument in ("--blend", text)]
    printed = succeed("compare", data, folder / "whole", "--models", ",".join(MODELS), "--seeds", 2, *configs, *blends)
    assert HYBRID in printed


def test_stopped(comparison: Comparison, folder: Path) -> None:
    """On request, in each stage of a blend: the same in the end."""
    shutil.copytree(folder / "whole", folder / "stopped")
    shutil.rmtree(folder / "stopped/blends")
    stops = 0
    while True:
        try:
            compare(DATA, folder / "stopped", **options(blends=BLENDS, observer=Stops(3)))
            break
        except KeyboardInterrupt:
            stops += 1
            assert stops < 30
    assert results(folder / "stopped") == results(folder / "whole")


def test_left_out(comparison: Comparison, folder: Path) -> None:
    """Where a member is, where the budget is spent, and where runs have no weights to choose with."""
    shutil.copytree(folder / "whole", folder / "left out")
    shutil.rmtree(folder / "left out/blends")
    some = compare(DATA, folder / "left out", **options(blends=BLENDS, budget="0.001s"))
    assert [(left.method, left.seed) for left in some.left_out] == [(ENSEMBLE, 0), (HYBRID, 0), (HYBRID, 1)]
    assert {left.reason for left in some.left_out} == {"the budget was spent before it could begin"}
    open_run(folder / "left out/runs/sr_gnn/seed-1").held_out_weights.unlink()
    some = compare(DATA, folder / "left out", **options(blends=BLENDS))
    (left,) = some.left_out
    assert (left.method, left.seed) == (HYBRID, 1)
    assert "expected weights that have not seen the sessions held out" in left.reason
    shutil.rmtree(folder / "left out/runs/sr_gnn/seed-1")
    some = compare(DATA, folder / "left out", **options(blends=BLENDS[1:], budget="0.001s"))
    assert [left.reason for left in some.left_out][-1] == "sr_gnn, seed 1 left out"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blends": "sr_gnn"}, "blends: expected names of methods with . between them, got 'sr_gnn'"),
        ({"blends": [3]}, "blends: expected names of methods"),
        ({"blends": ["tagnn"]}, "blends: expected some of the models vs_knn, sr_gnn, got 'tagnn' in 'tagnn'"),
        ({"blends": ["sr_gnn+"]}, "got '' in 'sr_gnn.'"),
        ({"blends": ["vs_knn"]}, "blends: expected a method with two seeds and more for an ensemble, got 'vs_knn'"),
        ({"blends": ["sr_gnn"], "seeds": 1}, "blends: expected a method with two seeds and more"),
        ({"blends": ["sr_gnn+sr_gnn"]}, "blends: expected one method, or two others with . between them"),
        ({"blends": ["sr_gnn+vs_knn", "vs_knn+sr_gnn"]}, "blends: expected each once, got 'vs_knn.sr_gnn' twice"),
        ({"blends": BLENDS, "protocol": "all"}, "blends: expected a protocol that holds out sessions .*, got all"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises((TypeError, ValueError), match=message):
        compare(DATA, tmp_path / "new", **options(**changes))
    assert list(tmp_path.iterdir()) == []
