"""What users met: one session of 8,000 clicks, whose prefixes made batches of millions of clicks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagnn_fast.data import PrefixExamples, read_dataset
from tagnn_fast.runs.configuration import TrainingConfig
from tagnn_fast.training.steps import Steps
from tests.cli.commands import TINY, succeed
from tests.support import shared


def test_bot_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """512 of its prefixes have two million clicks, of which no more than 100,000 are computed at once."""
    columns = ("--session-column", "s", "--item-column", "i", "--time-column", "t", "--time-unit", "seconds")
    succeed("prepare", "logs", shared("field_cases/bot-session/log.csv"), tmp_path / "data", *columns)
    clicks: list[int] = []

    def add_gradient(steps: Steps, places: torch.Tensor, share: float, table: torch.Tensor | None) -> torch.Tensor:
        clicks.append(int(steps.lengths[places].sum()))
        return torch.tensor(1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "_gradient", add_gradient)
        succeed("train", tmp_path / "data", "--run", tmp_path / "run", *TINY, "--epochs", 1, "--batch-size", 512,
                "--protocol", "all")  # fmt: skip
    assert sum(clicks) == int(PrefixExamples(read_dataset(tmp_path / "data").train).prefix_lengths().sum()) > 30_000_000
    assert max(clicks) <= TrainingConfig().max_clicks_per_batch == 100_000
