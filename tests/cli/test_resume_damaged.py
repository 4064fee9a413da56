"""Runs whose files are damaged, newer or another run's do not go on, and say which file it is."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.commands import TINY, newest, read, refused, succeed


def test_checkpoint_of_another_configuration(copied: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    succeed("train", data, "--run", other, *TINY, "--seed", 5, "--learning-rate", 0.01)
    checkpoint = copied / "checkpoints" / newest(copied)
    shutil.rmtree(checkpoint)
    shutil.copytree(other / "checkpoints" / newest(other), checkpoint)
    assert refused("train", "--resume", copied) == (
        f"{checkpoint}: expected a checkpoint of this configuration, got "
        "training.learning_rate: 0.01 instead of 0.001; training.seed: 5 instead of 0"
    )


# A folder without state.json is no checkpoint.
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *itertools.product(
            ["model.safetensors", "optimizer.safetensors", "random.safetensors"], ["half", "empty", "missing"]
        ),
        ("state.json", "half"),
        ("state.json", "empty"),
    ],
)
def test_damaged_checkpoint(file: str, damage: str, copied: Path) -> None:
    """It names the file."""
    path = copied / "checkpoints" / newest(copied) / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
    if damage == "missing":
        path.unlink()
    printed = refused("train", "--resume", copied)
    assert str(path) in printed
    assert "expected" in printed or "No such file" in printed


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("optimizer.safetensors", {}),
        ("optimizer.safetensors", {"other": torch.zeros(3)}),
        ("optimizer.safetensors", {"exp_avg.item_embedding.weight": torch.zeros(2, 2)}),
        ("random.safetensors", {}),
        ("random.safetensors", {"cpu": torch.zeros(3)}),
    ],
)
def test_checkpoint_of_something_else(file: str, content: dict[str, torch.Tensor], copied: Path) -> None:
    """A file that is whole and holds other tensors."""
    path = copied / "checkpoints" / newest(copied) / file
    save_file(content, path)
    assert str(path.parent) in refused("train", "--resume", copied)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 2}, "expected version 1"),
        ({"format": "other"}, "expected format 'tagnn_fast.checkpoint', got 'other'"),
        ({"progress": {}}, ""),
        ({"progress": {"epoch": 1, "rank": 0}}, "expected where the run stands"),
    ],
)
def test_state_of_another_kind(change: dict[str, object], expected: str, copied: Path) -> None:
    path = copied / "checkpoints" / newest(copied) / "state.json"
    path.write_text(json.dumps({**read(path), **change}))
    printed = refused("train", "--resume", copied)
    assert printed.startswith(str(path))
    assert expected in printed


@pytest.mark.parametrize("part", ["model", "training", "dataset"])
def test_damaged_configuration(part: str, copied: Path) -> None:
    path = copied / "config.json"
    path.write_text(json.dumps({name: value for name, value in read(path).items() if name != part}))
    assert refused("train", "--resume", copied).startswith(f"{path}: expected ")


def test_newer_run(copied: Path) -> None:
    path = copied / "config.json"
    path.write_text(json.dumps({**read(path), "version": 2}))
    printed = refused("train", "--resume", copied)
    assert printed.startswith(f"{path}: expected version 1")
    assert printed.endswith("got 2: a newer tagnn_fast wrote it")
