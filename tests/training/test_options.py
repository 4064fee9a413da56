"""Options from a file, a mapping and the command line: the same as given by keyword, or refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tagnn_fast.data import Dataset, Sessions, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.nn import SRGNN, ModelConfig, register_architecture
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.observer import Observer
from tagnn_fast.runs.run import open_run
from tagnn_fast.training.fit import fit, plan
from tagnn_fast.training.options import OPTIONS, parse_options, with_config
from tests.cli.commands import assert_same_run, refused, succeed

TINY: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "epochs": 1, "accelerator": "cpu", "protocol": "held-out"}
TOML = "\n".join(f"{name} = {json.dumps(value)}" for name, value in TINY.items())


class Scaled(SRGNN):
    """With options of its own."""

    def __init__(self, config: ModelConfig, scale: float = 1.0, kind: str = "plain") -> None:
        super().__init__(config)
        self.item_embedding.weight.data *= scale * len(kind)


@pytest.fixture
def _registered() -> Iterator[None]:
    register_architecture("scaled", Scaled)
    yield
    del ARCHITECTURES["scaled"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(synthetic_dataset(400, 60), tmp_path_factory.mktemp("options") / "data")


def test_file_mapping_and_keywords_are_the_same(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "best.toml").write_text(f"{TOML}\nseed = 9\n")
    (tmp_path / "best.json").write_text(json.dumps({**TINY, "seed": 9, "heads": None}))
    assert dataset.folder is not None
    fit(dataset, tmp_path / "keywords", **TINY, seed=3, observer=Observer())
    fit(dataset, tmp_path / "mapping", config={**TINY, "seed": 9}, seed=3, observer=Observer())
    fit(dataset, tmp_path / "json", config=tmp_path / "best.json", seed=3, observer=Observer())
    succeed("train", dataset.folder, "--run", tmp_path / "toml", "--config", tmp_path / "best.toml", "--seed", 3)
    for name in ("mapping", "json", "toml"):
        assert_same_run(tmp_path / name, tmp_path / "keywords")


@pytest.mark.usefixtures("_registered")
def test_options_of_an_architecture(dataset: Dataset, tmp_path: Path) -> None:
    """One by one: those that are given replace the configuration's."""
    config = tmp_path / "best.json"
    config.write_text(json.dumps({**TINY, "architecture": "scaled", "options": {"scale": 2.0, "kind": "odd"}}))
    given = ("--option", "scale=0.5")
    succeed("train", dataset.folder, "--run", tmp_path / "run", "--config", config, *given)
    assert open_run(tmp_path / "run").model.options == {"scale": 0.5, "kind": "odd"}
    message = refused("train", dataset.folder, "--run", tmp_path / "other", "--config", config, "--option", "shift=1")
    assert message == "options: expected what scaled takes (scale, kind), got an unexpected keyword argument 'shift'"


def test_values() -> None:
    texts = ["whole=3", "real=1e-3", "flag=true", "nothing=null", "text=a=b", 'quoted="5"', "empty="]
    assert parse_options(texts) == {
        "whole": 3,
        "real": 1e-3,
        "flag": True,
        "nothing": None,
        "text": "a=b",
        "quoted": "5",
        "empty": "",
    }
    for text in ("scale", "=3"):
        with pytest.raises(ValueError, match=f"--option: expected NAME=VALUE, got '{text}'"):
            parse_options([text])
    with pytest.raises(ValueError, match="--option: expected each name once, got a twice"):
        parse_options(["a=1", "a=1"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1]", "{path}: expected options by name, got [1]"),
        ("a.json", '{"hiden_size": 8}', "{path}: expected options of fit ({options}), got 'hiden_size'"),
        ("a.json", '{"seed": 1, "seed": 2}', "{path}: expected JSON, got a name twice in one object"),
        ("a.json", '{"options": 3}', "{path}: expected options by name in 'options', got 3"),
        ("a.toml", "seed = ", "{path}: expected TOML, got Invalid value (at end of document)"),
        ("a.yaml", "seed: 1", "config: expected a .json or .toml file, got {path}"),
    ],
)
def test_files_that_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        with_config(path, {})
    assert str(caught.value) == message.format(path=path, options=", ".join(sorted(OPTIONS)))


def test_what_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"config: expected a file or a mapping of options, got \[1\]"):
        with_config([1], {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"config: expected options of fit .* got 'num_items'"):
        with_config({"num_items": 3}, {})
    with pytest.raises(FileNotFoundError, match=r"config: expected a file, got .*nowhere\.json"):
        with_config(tmp_path / "nowhere.json", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "sr_gnn", "heads": 4}, "heads: expected none with sr_gnn, which does not use it, got 4"),
        (
            {"config": {"architecture": "tagnn", "attention_dropout": 0.0}},
            "attention_dropout: expected none with tagnn, which does not use it, got 0.0",
        ),
        ({"padded_length": 4}, "padded_length: expected none in clean semantics, got 4"),
    ],
)
def test_options_that_would_be_ignored(options: dict[str, Any], message: str, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        fit(dataset, tmp_path / "run", **TINY, **options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_preset_of_a_configuration(dataset: Dataset, tmp_path: Path) -> None:
    """The one that is given replaces it; without any it is the best."""
    (tmp_path / "clean.json").write_text(json.dumps({"preset": "clean", "heads": 4}))
    assert plan(dataset, {}) == plan(dataset, {"preset": "best"}) != plan(dataset, {"preset": "clean"})
    clean = with_config(tmp_path / "clean.json", {})
    assert plan(dataset, clean) == plan(dataset, {"preset": "clean", "heads": 4})
    assert plan(dataset, with_config(clean, {"preset": "best"})) == plan(dataset, {"heads": 4})
    arguments = (dataset.folder, "--run", tmp_path / "run", "--config", tmp_path / "clean.json", "--epochs", 1)
    succeed("train", *arguments, "--hidden-size", 8, "--accelerator", "cpu")
    assert open_run(tmp_path / "run").model == dataclasses.replace(plan(dataset, clean)[0], hidden_size=8)


def test_options_of_a_preset_are_not_given(dataset: Dataset) -> None:
    model, training = plan(dataset, {"preset": "published-diginetica", "architecture": "sr_gnn"})
    assert (model.semantics, training.architecture) == ("published", "sr_gnn")


def test_arguments_of_another_type(dataset: Dataset, tmp_path: Path) -> None:
    folder: Any = tmp_path / "run"
    calls: list[tuple[dict[str, Any], str]] = [
        ({"data": 5, "folder": folder}, "data: expected a data set or its folder, got 5"),
        ({"data": dataset, "folder": None}, "folder: expected a path, got None"),
        ({"data": dataset, "folder": folder, "start_from": 5}, "start_from: expected a run or its folder, got 5"),
    ]
    for arguments, message in calls:
        with pytest.raises(TypeError) as caught:
            fit(**arguments)
        assert str(caught.value) == message
    with pytest.raises(TypeError, match="folder: expected a run's folder, got 5"):
        open_run(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"preset: expected one of .*, got \['clean'\]"):
        fit(dataset, folder, ["clean"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"architecture: expected one of .*, got \['tagnn'\]"):
        fit(dataset, folder, architecture=["tagnn"])  # type: ignore[arg-type]


def test_relative_folders(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean what they meant when they were named."""
    assert dataset.folder is not None
    monkeypatch.chdir(dataset.folder.parent)
    data = read_dataset(dataset.folder.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    fit(data, "run", **TINY, observer=Observer())
    run = open_run("run")
    monkeypatch.chdir("elsewhere")
    assert run.dataset["path"] == str(dataset.folder)
    assert run.recommender().recommend([[1]], 2).items


def test_a_run_to_start_from_gives_its_network_whole(dataset: Dataset, tmp_path: Path) -> None:
    """What is off in it stays off, whatever the default preset has; more than it has seen is not held out."""
    tiny = {"hidden_size": 8, "epochs": 1, "accelerator": "cpu", "batch_size": 64}
    train = dataset.train
    times = 10 * torch.arange(len(train))
    timed = dataclasses.replace(dataset, train=Sessions(train.clicks, train.offsets, train.examples, times))
    for preset, options in (
        ("clean", {"architecture": "tagnn"}),
        ("best", {"cosine_scale": 0}),
        ("published-diginetica", {"protocol": "all"}),
    ):
        first = fit(timed, tmp_path / preset, preset, **tiny, **options, observer=Observer())
        with pytest.raises(ValueError, match="start_from: expected a run on sessions before some of the training sess"):
            fit(timed, tmp_path / "refused", epochs=1, start_from=first)
        second = fit(timed, tmp_path / f"{preset}-2", start_from=first, epochs=1, protocol="all", observer=Observer())
        assert second.model == first.model
        assert second.training.architecture == first.training.architecture
        assert second.began_with == second.trained_until == 10 * (len(train) - 1)
        tests = len(dataset.test)
        assert f"Of {tests} test sessions {tests} are not known to be later" in second.result["caution"]


def test_session_times_are_those_of_the_run(dataset: Dataset, tmp_path: Path) -> None:
    """They say where the held-out sessions begin."""
    run = fit(dataset, tmp_path / "run", **TINY, observer=Observer())
    train = dataset.train
    timed = Sessions(train.clicks, train.offsets, train.examples, torch.arange(len(train)))
    with pytest.raises(ValueError, match="dataset: expected one without the times of its sessions, as the run was "):
        fit(dataclasses.replace(dataset, train=timed), run.folder, **TINY)
