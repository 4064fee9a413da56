"""Baselines by name: each is fitted, scored, opened, exported and answers as any other method's run does."""

from __future__ import annotations

import dataclasses
import inspect
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tagnn_fast
from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import Dataset, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.nn.architectures import BASELINE_NAMES
from tagnn_fast.observer import Observer
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.serving_model import ServingModel
from tests.cli.commands import run as run_command
from tests.cli.commands import succeed
from tests.support import ROOT

QUIET = Observer()
SESSIONS: list[list[int]] = [[10_003, 10_005, 10_003], [10_007, -1], [-1], [], list(range(10_001, 10_050))]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(synthetic_dataset(1500, 60), tmp_path_factory.mktemp("baselines") / "data")


@pytest.mark.parametrize("name", BASELINES)
def test_from_fit_to_a_service(name: str, dataset: Dataset, tmp_path: Path) -> None:
    run = tagnn_fast.fit(dataset, tmp_path / "run", architecture=name, protocol="held-out", observer=QUIET)
    assert run.result is not None
    assert run.result["protocol"] == "held-out"
    assert list(run.result.figures) == ["validation", "test"]
    (record,) = run.history
    assert (record["validation"], record["training_seconds"]) == (run.result["validation"], run.result["seconds"])
    assert "validation" in str(run.result)
    assert "seconds" in str(run.history)
    (look,) = run.test_reads()
    assert look["figures"] == run.result["test"]
    assert run.test_ranks.exists()

    opened = open_run(tmp_path / "run")
    assert opened.configuration == {
        "model": {"num_items": len(dataset.vocabulary), "options": {}},
        "training": {"architecture": name, "protocol": "held-out"},
    }
    assert tagnn_fast.evaluate(opened, observer=QUIET).figures[name] == run.result["test"]
    recommender = opened.recommender()
    answer = recommender.recommend(SESSIONS, 7, exclude_clicked=True)
    assert answer.status == [0, 1, 2, 2, 0]
    assert [len(line) for line in answer.items] == [7] * 5
    assert all(item not in session for session, line in zip(SESSIONS, answer.items, strict=True) for item in line)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(ServingModel(recommender.ranker, recommender.vocabulary)), file)
    served = torch.jit.load(io.BytesIO(file.getvalue())).recommend(SESSIONS, 7, exclude_clicked=True)
    assert served == (answer.items, answer.scores, answer.status)


@pytest.mark.parametrize("name", ["sequential_rules"])  # tests/serving has one of neighbours, compiled too
def test_export(name: str, dataset: Dataset, tmp_path: Path) -> None:
    run = tagnn_fast.fit(dataset, tmp_path / "run", architecture=name, options={"rules": 9}, observer=QUIET)
    manifest = tagnn_fast.export(run, tmp_path / "exported", formats=["torchscript", "program"])
    assert manifest["model"] == {"num_items": len(dataset.vocabulary), "options": {"rules": 9}}
    assert manifest["card"]["training"].keys() == {"architecture", "protocol"}
    assert manifest["files"]["model.ts"]["bytes"] > 0
    for format in ("torchscript", "program"):
        served = tagnn_fast.load(tmp_path / "exported", format)  # type: ignore[arg-type]
        for choice in ({}, {"candidates": [10_003, 10_009, 5], "exclude": [10_003]}, {"exclude_clicked": True}):
            expected = run.recommender().recommend(SESSIONS, 20, **choice)  # type: ignore[arg-type]
            found = served.recommend(SESSIONS, 20, **choice)  # type: ignore[arg-type]
            assert (found.items, found.scores, found.status) == (expected.items, expected.scores, expected.status)
    with pytest.raises(ValueError, match="^bfloat16_table: expected False for a baseline"):
        tagnn_fast.export(run, tmp_path / "rounded", bfloat16_table=True)
    assert not (tmp_path / "rounded").exists()


def test_protocols(dataset: Dataset, tmp_path: Path) -> None:
    """Chosen on the held-out sessions, fitted on all of them: as it would be without any held out."""
    fitted = {}
    for protocol in ("all", "held-out", "held-out-refit"):
        run = tagnn_fast.fit(dataset, tmp_path / protocol, architecture="stan", protocol=protocol, observer=QUIET)  # type: ignore[arg-type]
        fitted[protocol] = run, run.recommender().model.state_dict()
    results = {protocol: run.result for protocol, (run, _) in fitted.items()}
    assert "validation" not in results["all"]  # type: ignore[operator]
    assert results["held-out-refit"]["validation"] == results["held-out"]["validation"]  # type: ignore[index]
    assert results["held-out-refit"]["test"] == results["all"]["test"]  # type: ignore[index]
    for name, value in fitted["all"][1].items():
        assert torch.equal(fitted["held-out-refit"][1][name], value)
    held_out = {protocol: (run.folder / "held_out.safetensors").exists() for protocol, (run, _) in fitted.items()}
    assert held_out == {"all": False, "held-out": False, "held-out-refit": True}
    for name, value in load_file(fitted["held-out-refit"][0].held_out_weights).items():
        assert torch.equal(fitted["held-out"][1][name], value)
    assert fitted["held-out"][1]["counts"].sum() < fitted["all"][1]["counts"].sum()
    assert "then trained on all sessions" in str(results["held-out-refit"])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"options": {"neighbors": 5}},
            ValueError,
            "options: expected what vs_knn takes .neighbours, sample, .*, got an unexpected keyword",
        ),
        ({"options": {"neighbours": 0}}, ValueError, "neighbours: expected 1 or more, got 0"),
        ({"options": {"neighbours": "many"}}, TypeError, "neighbours: expected an int, got 'many'"),
        ({"options": {"click_decay": "slow"}}, ValueError, "click_decay: expected one of same, div, "),
        ({"epochs": 3, "hidden_size": 8}, ValueError, "epochs, hidden_size: expected no such option for vs_knn"),
        ({"learning_rate": 0.1}, ValueError, "learning_rate: expected no such option for vs_knn"),
        ({"batch_size": 5}, ValueError, "batch_size: expected no such option for vs_knn"),
        ({"preset": "published-diginetica"}, ValueError, "preset: expected no such option for vs_knn"),
        ({"protocol": "published"}, ValueError, "protocol: expected one of held-out, held-out-refit, all for vs_knn"),
        ({"protocol": "best"}, ValueError, "protocol: expected one of "),
        ({"architecture": "vs_knm"}, ValueError, "architecture: expected one of tagnn_pp, .*, vs_knn, .*'vs_knm'"),
    ],
)
def test_what_is_refused(
    options: dict[str, Any], kind: type[Exception], message: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=f"^{message}"):
        tagnn_fast.fit(dataset, tmp_path / "run", **{"architecture": "vs_knn", **options}, observer=QUIET)
    assert not (tmp_path / "run").exists()


def test_what_a_baseline_is_not(dataset: Dataset, tmp_path: Path) -> None:
    run = tagnn_fast.fit(dataset, tmp_path / "run", architecture="item_knn", protocol="all", observer=QUIET)
    recommender = run.recommender()
    for method, call in (
        ("item_vectors", recommender.item_vectors),
        ("similar", lambda: recommender.similar([10_003])),
    ):
        with pytest.raises(ValueError, match=f"^{method}: expected a network, got a baseline, which has no item vec"):
            call()
    with pytest.raises(ValueError, match=r"^device: expected cpu, which baselines run on, got cuda$"):
        run.recommender("cuda")
    with pytest.raises(ValueError, match=r"^bfloat16_table: expected False for a baseline"):
        Recommender(recommender.model, run.vocabulary, bfloat16_table=True)
    with pytest.raises(ValueError, match=r"^start_from: expected a run of a network, got one of item_knn$"):
        tagnn_fast.fit(dataset, tmp_path / "next", start_from=run, observer=QUIET)
    with pytest.raises(ValueError, match="name: expected another than .*vs_knn"):
        tagnn_fast.register_architecture("vs_knn", tagnn_fast.TAGNN)
    other = tagnn_fast.fit(dataset, tmp_path / "other", architecture="stan", protocol="all", observer=QUIET)
    shutil.copy(other.weights, run.weights)
    with pytest.raises(ValueError, match=r"model.safetensors: expected .*: it belongs to another configuration$"):
        run.recommender()


class _StopsAt(Observer):
    def __init__(self, what: str) -> None:
        self.what = what

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        if what == self.what:
            raise KeyboardInterrupt


def test_stopped_and_called_again(dataset: Dataset, tmp_path: Path) -> None:
    """Wherever it was, the same call ends with the same figures and one look at the test set."""
    whole = tagnn_fast.fit(dataset, tmp_path / "whole", architecture="vs_knn", protocol="held-out", observer=QUIET)
    for what in ("validation", "test"):
        stops = _StopsAt(what)
        with pytest.raises(KeyboardInterrupt):
            tagnn_fast.fit(dataset, tmp_path / "run", architecture="vs_knn", protocol="held-out", observer=stops)
    run = tagnn_fast.fit(dataset, tmp_path / "run", architecture="vs_knn", protocol="held-out", observer=QUIET)
    (run.folder / "result.json").unlink()  # as if it had been killed right before
    again = tagnn_fast.fit(dataset, tmp_path / "run", architecture="vs_knn", protocol="held-out", observer=QUIET)
    assert again.result is not None
    assert whole.result is not None
    assert again.result.figures == whole.result.figures
    assert len(run.test_reads()) == 1
    before = run.weights.stat().st_mtime_ns
    assert tagnn_fast.fit(dataset, run.folder, architecture="vs_knn", protocol="held-out", observer=QUIET)
    assert run.weights.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="expected a run of this configuration"):
        tagnn_fast.fit(dataset, run.folder, architecture="vs_knn", options={"sample": 9}, observer=QUIET)
    with run.lock(), pytest.raises(BlockingIOError, match="expected a run that no other process trains"):
        tagnn_fast.fit(dataset, run.folder, architecture="vs_knn", protocol="held-out", observer=QUIET)


def test_other_times(dataset: Dataset, tmp_path: Path) -> None:
    """The same sessions with and without times have one fingerprint, and other ages."""
    train = dataset.train
    times = torch.arange(len(train)) ** 2
    timed = dataclasses.replace(dataset, train=Sessions(train.clicks, train.offsets, train.examples, times))
    assert timed.fingerprint() == dataset.fingerprint()
    tagnn_fast.fit(dataset, tmp_path / "run", architecture="stan", observer=QUIET)
    (tmp_path / "run/result.json").unlink()
    with pytest.raises(ValueError, match="expected one without the times of its sessions"):
        tagnn_fast.fit(timed, tmp_path / "run", architecture="stan", observer=QUIET)
    models = ["popularity", "stan"]
    tagnn_fast.compare(dataset, tmp_path / "compared", models, observer=QUIET)
    with pytest.raises(ValueError, match="got one with times False instead of '"):
        tagnn_fast.compare(timed, tmp_path / "compared", models, observer=QUIET)


def test_commands(dataset: Dataset, tmp_path: Path) -> None:
    options = ("--architecture", "vs_knn", "--option", "neighbours=20", "--option", "click_decay=linear")
    shown = succeed("train", dataset.folder, "--run", tmp_path / "run", *options)
    assert "HR@20" in shown
    assert open_run(tmp_path / "run").model.options == {"neighbours": 20, "click_decay": "linear"}
    described = succeed("info", tmp_path / "run")
    assert '"neighbours": 20' in described
    assert not any(word in described for word in ("hidden_size", "learning_rate", "epochs"))
    assert "10003" in succeed("recommend", tmp_path / "run", 10_003, 10_005)
    refused = run_command("similar", tmp_path / "run", 10_003)
    assert refused.returncode == 1
    assert "similar: expected a network, got a baseline, which has no item vectors" in refused.stderr


def test_documented() -> None:
    """Every name, with its options and their defaults."""
    table = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", (ROOT / "docs/baselines.md").read_text(), re.MULTILINE)
    documented = {name: dict(re.findall(r"`(\w+)` \(([^)]+)\)", options)) for name, options in table}
    for name, baseline in BASELINES.items():
        options = inspect.signature(baseline).parameters.values()
        defaults = {option.name: option.default for option in options if option.name != "config"}
        assert documented[name] == {
            key: value if isinstance(value, str) else f"{value:g}" for key, value in defaults.items()
        }
    assert documented.keys() == BASELINES.keys()


def test_names_that_networks_may_not_have() -> None:
    assert set(BASELINE_NAMES) == BASELINES.keys()
