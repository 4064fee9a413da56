"""`tagnn-fast train` and what is installed on request: loggers, and packages that are missing."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.commands import TINY, read, refused, succeed


class Missing:
    """Finds no such package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("package", ["lightning_fabric", "tensorboard", "matplotlib"])
def test_without_the_training_extra(package: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, before it makes a folder."""
    rooms = ("loop", "curves", "tensorboard")
    users = (*(f"tagnn_fast.training.{room}" for room in rooms), "torch.utils.tensorboard")
    for name in list(sys.modules):
        if name.startswith((f"{package}.", *users)) or name == package:
            room, _, module = name.rpartition(".")
            if room == "tagnn_fast.training":  # what is imported in its place becomes the room's, too
                monkeypatch.setattr(sys.modules[room], module, sys.modules[name])
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    printed = refused("train", data, "--run", tmp_path / "run", *TINY)
    assert printed == f"this command needs {package}: pip install 'tagnn_fast[train]'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "package"),
    [("mlflow", "mlflow"), ("mlflow", "pytorch_lightning"), ("wandb", "wandb"), ("wandb", "pytorch_lightning")],
)
def test_logger_that_is_not_there(
    name: str, package: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package != "wandb":
        monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))  # is installed
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.loggers", raising=False)
    printed = refused("train", data, "--run", tmp_path / "run", *TINY, "--logger", name)
    assert printed == f"this command needs {package}: pip install 'tagnn_fast[{name}]'"
    assert list(tmp_path.iterdir()) == []


def test_loggers(data: Path, tmp_path: Path) -> None:
    """From the beginning, or told afterwards."""
    folder = tmp_path / "run"
    printed = refused("train", data, "--run", folder, *TINY, "--logger", "csv", "--logger", "tensorbord")
    assert printed.endswith(
        "expected a list of csv, mlflow, wandb or objects with Lightning's logger interface, got 'tensorbord'"
    )
    assert not folder.exists()
    succeed("train", data, "--run", folder, *TINY, "--logger", "csv")
    metrics = folder / "csv" / "metrics.csv"
    written = metrics.read_text()
    assert [row["epoch"] for row in csv.DictReader(written.splitlines())] == ["1", "2", ""]
    assert f"{read(folder / 'result.json')['test']['MRR@20']}" in written
    metrics.unlink()
    succeed("train", "--resume", folder, "--logger", "csv")
    assert metrics.read_text() == written
