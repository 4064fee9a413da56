"""The example of a network of one's own: trained, evaluated, exported and served, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.served_model import FORMATS
from tests.support import ROOT

EXAMPLE = ROOT / "examples" / "python" / "own_model.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the example wrote and printed."""
    folder = tmp_path_factory.mktemp("own")
    result = subprocess.run([sys.executable, EXAMPLE, folder], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


@pytest.mark.parametrize("format", FORMATS)
def test_answers(made: tuple[Path, str], format: str) -> None:
    """The exported network answers here as there, without its class, and explains what it answers."""
    folder, printed = made
    service = tagnn_fast.load(folder / "exported", format)
    ids = service.item_ids()
    items, scores, _ = service.recommend([ids[:3].tolist()], k=5)
    assert "perceptron" in printed
    assert [f"item {item}: {score:.3f}" for item, score in zip(items[0], scores[0], strict=True)] == (
        printed.splitlines()[-5:]
    )
    weights = service.explain(ids[:3], torch.tensor([0, 3]), ids[9:10])
    assert float(weights.sum()) == pytest.approx(1)


def test_unregistered(made: tuple[Path, str]) -> None:
    """Opening its run says which name is missing, and how to register it."""
    with pytest.raises(ValueError, match=r"got 'perceptron'; tagnn_fast.register_architecture\('perceptron', its"):
        open_run(made[0] / "run")
