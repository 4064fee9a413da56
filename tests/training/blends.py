"""Small ended runs to put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.observer import Observer
from tagnn_fast.runs.run import Run
from tagnn_fast.training.fit import fit

DATA = synthetic_dataset(1_500, 60)
QUIET = Observer()
SMALL: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "epochs": 2, "learning_rate": 0.01, "accelerator": "cpu"}


def trained(folder: Path, architecture: str, seed: int = 0, **options: Any) -> Run:
    """A run of its own data set; of a baseline where the architecture is one."""
    given: dict[str, Any] = {} if architecture in BASELINES else {**SMALL, "seed": seed}
    data = options.pop("data", DATA)
    return fit(data, folder, architecture=architecture, **{**given, **options}, observer=QUIET)
