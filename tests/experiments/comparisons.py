"""Small comparisons, and what must be the same in each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagnn_fast.data import synthetic_dataset
from tagnn_fast.observer import Observer
from tests.cli.commands import read

DATA = synthetic_dataset(1_200, 60)
SMALL = {"hidden_size": 8, "batch_size": 64, "epochs": 2, "accelerator": "cpu"}
MODELS = ["sr_gnn", "vs_knn"]
CONFIGS: dict[str, Any] = {"sr_gnn": SMALL, "vs_knn": {"options": {"neighbours": 30}}}
QUIET = Observer()


def results(folder: Path) -> dict[str, Any]:
    """The results without times and where they were measured."""
    content: dict[str, Any] = read(folder / "results.json")
    for name in ("seconds", "budget", "machine"):
        del content[name]
    for method in content["methods"]:
        del method["times"]
    return content


class Stops(Observer):
    """Wants to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def stop(self) -> bool:
        self.left -= 1
        return self.left < 0
