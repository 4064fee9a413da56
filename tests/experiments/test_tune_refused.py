"""What a tuning refuses, in a line, before anything is written."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

import tagnn_fast
from tagnn_fast.cli import app
from tagnn_fast.data import Dataset, Sessions, synthetic_dataset
from tagnn_fast.experiments.tune_results import Tuning
from tagnn_fast.nn import SRGNN
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.nn.search_space import Choice, SearchSpace, Whole
from tests.cli.commands import contents, refused, succeed
from tests.experiments.tunings import FIX, small_dataset, small_tuning

FIXED = [argument for name, value in FIX.items() for argument in ("--fix", f"{name}={value}")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("refused"))


@pytest.fixture(scope="module")
def tuned(dataset: Dataset) -> Tuning:
    assert dataset.folder is not None
    return small_tuning(dataset, dataset.folder.parent / "tuned", trials=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", 0], "trials: expected 1 or more, got 0"),
        (["--budget", "x"], "budget: expected a time such as 90s, 30m or 2h, got 'x'"),
        (["--metric", "AUC"], "metric: expected one of HR@5, MRR@5, NDCG@5, HR@10, "),
        (["--seed", -1], "seed: expected 0 or more, got -1"),
        (["--model", "gru"], "model: expected one of tagnn_pp, "),
        (["--fix", "hidden_size"], "--fix: expected NAME=VALUE, got 'hidden_size'"),
        (["--fix", "hidden_size=0"], "hidden_size: expected 1 or more, got 0"),
        (["--fix", "heads=1"], "heads: expected none with sr_gnn, which does not use it, got 1"),
        (["--fix", "hiden_size=8"], "options: expected what sr_gnn takes (none), "),
        (["--fix", "protocol=all"], "fix: expected options of sr_gnn and of its training, got 'protocol'"),
        (
            ["--fix", "cosine_scale=null"],
            "fix: expected a value for cosine_scale, got none, ",
        ),
        (["--fix", "preset=clean"], "fix: expected options of sr_gnn and of its training, got 'preset'"),
        (["--fix", "architecture=tagnn"], "fix: expected options of sr_gnn and of its training, got 'architecture'"),
        (["--start", "missing.json"], "config: expected a file, got missing.json"),
    ],
    ids=str,
)
def test_arguments(arguments: list[object], message: str, dataset: Dataset, tmp_path: Path) -> None:
    assert refused("tune", dataset.folder, tmp_path / "a", "--model", "sr_gnn", *arguments).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"rounds": 9}, "start: expected rounds 1 to 3, got 9"),
        (
            {"hidden_size": 16},
            "start: expected options to tune (learning_rate, weight_decay, rounds, hybrid, readout_softmax, ",
        ),
        ({"architecture": "tagnn"}, "start: expected options to tune"),
        ({"options": {"k": 5}}, "start: expected options to tune"),
    ],
    ids=str,
)
def test_a_start(start: dict[str, Any], message: str, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "start.json").write_text(json.dumps(start))
    for given in (start, tmp_path / "start.json"):
        with pytest.raises(ValueError) as error:
            small_tuning(dataset, tmp_path / "a", start=[given])
        assert str(error.value).startswith(message)
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 90}, "budget: expected a time such as 90s, 30m or 2h, got 90"),
        ({"data": None}, "data: expected a data set or its folder, got None"),
        ({"folder": 5}, "folder: expected a path, got 5"),
        ({"trials": 2.5}, "trials: expected an int, got 2.5"),
        ({"fix": ["epochs"]}, "fix: expected options by name, got ['epochs']"),
        ({"fix": []}, "fix: expected options by name, got []"),
        ({"start": None}, "start: expected a list of configurations or files, got None"),
        ({"start": [5]}, "start: expected configurations or files, got 5"),
        ({"start": [{"options": 5}]}, "start: expected options by name in 'options', got 5"),
        ({"start": {"rounds": 2}}, "start: expected a list of configurations or files, got {'rounds': 2}"),
    ],
    ids=str,
)
def test_types(arguments: dict[str, Any], message: str, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TypeError) as error:
        small_tuning(**{"data": dataset, "folder": tmp_path / "a", **arguments})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "HR@20"], "metric 'MRR@20' instead of 'HR@20'"),
        (["--model", "tagnn"], "model 'sr_gnn' instead of 'tagnn'"),
        (["--seed", 3], "seed 0 instead of 3"),
        (["--fix", "warmup_steps=1"], "fix {"),
    ],
    ids=str,
)
def test_another_tuning(arguments: list[object], message: str, dataset: Dataset, tuned: Tuning) -> None:
    before = contents(tuned.folder)
    given = refused("tune", dataset.folder, tuned.folder, "--model", "sr_gnn", *FIXED, *arguments)
    assert given.startswith(f"{tuned.folder}: expected a tuning of the same to go on with, got one with {message}")
    assert given.endswith("; another folder makes a new one")
    assert contents(tuned.folder) == before


def test_another_data_set(tuned: Tuning) -> None:
    with pytest.raises(ValueError, match="got one with dataset 'synthetic-900-200-0 .*' instead of 'synthetic-800-"):
        small_tuning(synthetic_dataset(800, 200), tuned.folder)


def test_other_times(dataset: Dataset, tuned: Tuning) -> None:
    """Other sessions would be held out."""
    train = dataset.train
    timed = Sessions(train.clicks, train.offsets, train.examples, torch.arange(len(train)))
    with pytest.raises(ValueError, match=r"got one with times None instead of '"):
        small_tuning(dataclasses.replace(dataset, train=timed), tuned.folder)


def test_another_folder(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileExistsError, match="expected a folder that does not exist yet"):
        small_tuning(dataset, tmp_path / "a")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "model: expected one with options to tune, got 'own', which has none but those fixed"),
        ({"hidden_size": Choice([8])}, "model: expected one with options to tune, got 'own', which has none but "),
        ({"rounds": Whole(2, 3)}, "search_space: expected each option of own with its default, got rounds (2 to 3), "),
        ({"depth": Whole(2, 3)}, "search_space: expected each option of own with its default, got depth (2 to 3), "),
    ],
    ids=str,
)
def test_a_space(
    space: SearchSpace, message: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "own", type("Own", (SRGNN,), {"search_space": space}))
    with pytest.raises(ValueError) as error:
        small_tuning(dataset, tmp_path / "a", "own")
    assert str(error.value).startswith(message)


def test_without_the_extra(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tune_loop", "tune_study", "tune_trial"):
        monkeypatch.delitem(sys.modules, f"tagnn_fast.experiments.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError) as error:
        small_tuning(dataset, tmp_path / "a")
    assert str(error.value) == "tune needs optuna: pip install 'tagnn_fast[tune]'"
    assert list(tmp_path.iterdir()) == []


def test_every_option_of_the_command_line(dataset: Dataset, tmp_path: Path) -> None:
    command: Any = typer.main.get_command(app)
    options = {parameter.name for parameter in command.commands["tune"].params} - {"help"}
    parameters = set(inspect.signature(tagnn_fast.tune).parameters)
    assert parameters == options - {"dataset"} | {"data", "observer"}
    arguments = [*FIXED, "--trials", 1, "--budget", "1h", "--metric", "HR@20"]
    printed = succeed("tune", dataset.folder, tmp_path / "a", "--model", "sr_gnn", *arguments)
    for text in ("trial 1: HR@20 ", "best so far", "1 of 1 trials", f"--config {tmp_path / 'a' / 'best.json'}"):
        assert text in printed
