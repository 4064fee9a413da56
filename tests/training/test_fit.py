"""`tagnn_fast.fit`: the same as the command line, from any thread; it goes on, or says why it cannot."""

from __future__ import annotations

import dataclasses
import inspect
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

import tagnn_fast
from tagnn_fast.cli import app
from tagnn_fast.data import Dataset, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.observer import Observer
from tagnn_fast.runs.run import Run
from tagnn_fast.training.fit import fit, resume
from tagnn_fast.training.options import OPTIONS
from tagnn_fast.training.recipes import PRESETS, PresetName
from tests.cli.commands import assert_same_run, contents, looks_at_test_set, succeed

TINY: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "epochs": 2, "accelerator": "cpu", "protocol": "held-out"}
ARGUMENTS = [argument for name, value in TINY.items() for argument in (f"--{name.replace('_', '-')}", value)]
QUIET = Observer()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(synthetic_dataset(900, 200), tmp_path_factory.mktemp("fit") / "data")


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> Path:
    """By the command line."""
    assert dataset.folder is not None
    folder = dataset.folder.parent / "trained"
    succeed("train", dataset.folder, "--run", folder, *ARGUMENTS)
    return folder


@pytest.fixture(scope="module")
def in_memory(dataset: Dataset) -> Run:
    """On a data set that is in no folder."""
    assert dataset.folder is not None
    return fit(dataclasses.replace(dataset), dataset.folder.parent / "in_memory", **TINY, observer=QUIET)


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def options_of(*names: str) -> set[str]:
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return {parameter.name for parameter in command.params} - {"help"}


def test_every_option_of_the_command_line() -> None:
    processes = {"devices", "num_nodes", "strategy"}  # no options of a run: others may go on with it
    shown = {"loggers", "observer"}
    assert parameters(fit) == OPTIONS | {"data", "folder", "config", "preset", "start_from"} | shown | processes
    own = {"dataset", "run", "resume", "config", "preset", "start_from", "option", "logger"} | processes
    assert options_of("train") == OPTIONS - {"options"} | own
    assert set(get_args(PresetName)) == PRESETS.keys()
    assert parameters(tagnn_fast.prepare) == options_of("prepare", "logs") | {"observer"}


def test_the_same_as_the_command_line(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    """To the bit; in another thread too, where signals do not come."""
    runs = list[Run]()
    thread = threading.Thread(target=lambda: runs.append(fit(dataset, tmp_path / "run", **TINY, observer=QUIET)))
    thread.start()
    thread.join()
    assert_same_run(runs[0].folder, trained)
    assert runs[0].dataset["path"] == str(dataset.folder)


class Stopping(Observer):
    """Presses Ctrl-C after some batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def advance(self, examples: int, loss: float | None = None) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_stopped_and_called_again(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped in epoch 1 after step 4; saved epoch-000-step-000004"):
        fit(dataset, tmp_path / "run", **TINY, observer=Stopping(4))
    assert signal.getsignal(signal.SIGINT) is before
    run = tagnn_fast.open_run(tmp_path / "run")
    assert (run.history, run.result) == ([], None)
    assert dataset.folder is not None
    fit(dataset.folder, tmp_path / "run", **TINY, observer=QUIET)
    assert_same_run(tmp_path / "run", trained)


def test_a_run_that_has_ended(dataset: Dataset, trained: Path) -> None:
    """Stays as it is: the test set is not looked at again."""
    looks, weights = looks_at_test_set(trained), (trained / "model.safetensors").read_bytes()
    run = fit(dataset, trained, **TINY, observer=QUIET)
    assert looks_at_test_set(trained) == looks
    assert (trained / "model.safetensors").read_bytes() == weights
    assert run.result == json.loads((trained / "result.json").read_text())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"hidden_size": 6}, "hidden_size 8 instead of 6"),
        ({"epochs": 3, "seed": 5}, "epochs 2 instead of 3, seed 0 instead of 5"),
        ({"batch_size": None}, "batch_size 64 instead of 256"),
        ({"semantics": "published"}, "semantics 'clean' instead of 'published', padded_length None instead of "),
        ({"preset": "published-diginetica"}, "semantics 'clean' instead of 'published', padded_length None instead of"),
    ],
)
def test_another_configuration(changed: dict[str, Any], expected: str, dataset: Dataset, trained: Path) -> None:
    before = contents(trained)
    with pytest.raises(ValueError) as caught:
        fit(dataset, trained, **{**TINY, **changed}, observer=QUIET)
    assert str(caught.value).startswith(f"{trained}: expected a run of this configuration to go on with, got one with ")
    assert expected in str(caught.value)
    assert contents(trained) == before


def test_what_is_refused(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dataset: expected the sessions and items of the run's, 'synthetic-900"):
        fit(synthetic_dataset(800, 200), trained, **TINY, observer=QUIET)
    with pytest.raises(TypeError, match="hiden_size"):
        fit(dataset, tmp_path / "run", hiden_size=8)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="heads: expected a divisor of hidden_size 8, got 3"):
        fit(dataset, tmp_path / "run", **TINY, heads=3)
    with pytest.raises(TypeError, match="hidden_size"):
        fit(dataset, tmp_path / "run", hidden_size="8")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="expected a folder that does not exist yet"):
        fit(dataset, tmp_path / "run", **TINY)


def test_a_data_set_in_memory(in_memory: Run, dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    """The run has it, wherever it is moved to: it goes on and is evaluated without being told where it is."""
    assert in_memory.dataset["path"] == "data"
    assert in_memory.read_dataset().fingerprint() == dataset.fingerprint()
    assert_same_run(in_memory.folder, trained)
    moved = tagnn_fast.open_run(in_memory.folder.rename(tmp_path / "moved"))
    assert resume(moved, observer=QUIET).result == moved.result
    figures = tagnn_fast.evaluate(moved, observer=QUIET).figures
    assert figures["tagnn_pp"] == moved.result["test"]  # type: ignore[index]
    assert "looks at a test set so far: 3" in succeed("evaluate", moved.folder)
    succeed("train", "--resume", moved.folder)
    moved.folder.rename(in_memory.folder)


def test_what_has_a_folder(dataset: Dataset, tmp_path: Path) -> None:
    """A data set that is made of one in a folder is in none."""
    assert dataset.folder is not None
    assert read_dataset(dataset.folder).folder == dataset.folder
    assert dataclasses.replace(dataset).folder is None
    assert dataset.with_titles({}).folder is None
    assert write_dataset(dataset, tmp_path / "copy").folder == tmp_path / "copy"


def test_figures_that_print(in_memory: Run) -> None:
    history, result = in_memory.history, in_memory.result
    assert result is not None
    assert [record["epoch"] for record in history] == [1, 2]
    loss = f"{history[1]['training_loss']:.4f}"
    assert all(text in str(history) for text in ("training, by epoch", loss, "HR@20"))
    assert list(history.to_pandas()["validation.HR@20"]) == [record["validation"]["HR@20"] for record in history]
    assert f"{result['test']['MRR@20']:.2f}" in str(result)
    assert result.to_pandas().loc["test", "MRR@20"] == result["test"]["MRR@20"]
    assert json.loads(json.dumps(result)) == result
    shown = result._repr_mimebundle_(include=[], exclude=[])
    assert "<pre" in shown["text/html"]
    assert "validation" in shown["text/plain"]


def test_without_the_extra(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tagnn_fast.training.loop")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        fit(dataset, tmp_path / "run")
    assert str(caught.value) == "fit needs lightning_fabric: pip install 'tagnn_fast[train]'"
    assert list(tmp_path.iterdir()) == []
