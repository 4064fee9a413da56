"""The example that makes a model repository for Triton Inference Server; no server was there to run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tests.serving.folders import make_export, sample_sessions
from tests.serving.test_written_by_earlier import unpacked
from tests.support import ROOT, batch

EXAMPLE = ROOT / "examples" / "triton" / "make_repository.py"


def make_repository(exported: Path, folder: Path, *options: str) -> Path:
    command = [sys.executable, EXAMPLE, exported, folder, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "tagnn_fast"


def test_model_takes_what_the_configuration_says(tmp_path: Path) -> None:
    folder = make_repository(make_export(), tmp_path / "triton")
    configuration = (folder / "config.pbtxt").read_text()
    assert "Untested" in configuration
    model = torch.jit.load(folder / "1" / "model.pt")
    items, offsets = batch(sample_sessions())
    expected = tagnn_fast.load(make_export())(items, offsets, 20)
    for value, wanted in zip(model(items, offsets.int()), expected, strict=True):
        assert torch.equal(value, wanted)
    names = [line.split('"')[1] for line in configuration.split("output [")[1].splitlines() if "name:" in line]
    assert names[:3] == ["ITEM_IDS__0", "SCORES__1", "STATUS__2"]
    assert 'name: "ITEMS__0"' in configuration


def test_old_exports(tmp_path: Path) -> None:
    """Their answers are in another order."""
    exported = unpacked("version-2-strings", tmp_path) / "exported"
    command = [sys.executable, "-W", "ignore", EXAMPLE, exported, tmp_path / "triton"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "expected a folder of version 3, got 2" in " ".join(result.stderr.split())
    assert not (tmp_path / "triton").exists()


@pytest.mark.parametrize("asked", [7, 5000])
def test_strings_and_lengths(asked: int, tmp_path: Path) -> None:
    """Where ids are strings it takes item indices, under another name than raw ids have."""
    length = min(asked, tagnn_fast.load(make_export(strings=True)).manifest["items"])
    folder = make_repository(make_export(strings=True), tmp_path / "triton", "--k", str(asked))
    configuration = (folder / "config.pbtxt").read_text()
    assert 'name: "ITEM_INDICES__0"' in configuration
    assert "ITEMS__0" not in configuration
    assert f"dims: [ {length} ]" in configuration
    assert torch.jit.load(folder / "1" / "model.pt")(*batch([[1, 2], [5]]))[0].shape == (2, length)
