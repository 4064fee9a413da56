"""What tests of tuning share: a small data set, trainings of a moment, and what must be alike of two tunings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagnn_fast.data import Dataset, synthetic_dataset, write_dataset
from tagnn_fast.experiments.tune import tune
from tagnn_fast.experiments.tune_results import Tuning
from tagnn_fast.observer import Observer

FIX: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "epochs": 2, "accelerator": "cpu"}


def small_dataset(folder: Path) -> Dataset:
    return write_dataset(synthetic_dataset(900, 200), folder / "data")


def small_tuning(data: Dataset | Path, folder: Path, model: str = "sr_gnn", **options: Any) -> Tuning:
    return tune(data, folder, model, **{"trials": 3, "fix": FIX, "observer": Observer(), **options})


def trials_of(tuning: Tuning) -> list[dict[str, Any]]:
    """All but what they took."""
    return [{**trial.record(), "seconds": None} for trial in tuning.trials]
