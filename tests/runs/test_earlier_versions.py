"""Runs that earlier versions stopped go on as the configuration they were made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tagnn_fast.data import synthetic_dataset
from tagnn_fast.runs.checkpoints import STATE, list_checkpoints
from tagnn_fast.runs.run import create_run, open_run
from tagnn_fast.training.loop import Interrupted, train
from tagnn_fast.training.recipes import resolve
from tests.training.test_loop import StopAfter, assert_same_outcome

DATASET = synthetic_dataset(clicks=300, items=30)
OPTIONS = {"hidden_size": 4, "rounds": 2, "semantics": "published", "epochs": 1, "batch_size": 64, "accelerator": "cpu"}
OPTIONS |= {"patience": 0, "first_decay": 2, "decay_every": 3}


def as_earlier(path: Path) -> None:
    """Rewrite a file as earlier versions: steps, and original semantics; they had no patience, and no refit."""
    content: dict[str, Any] = json.loads(path.read_text())
    model = content.get("configuration", content)["model"]
    model["steps"] = model.pop("rounds")
    model["semantics"] = {"published": "original"}[model["semantics"]]
    del content.get("configuration", content)["training"]["patience"]
    content.get("progress", {}).pop("refit", None)
    path.write_text(json.dumps(content))


def test_resume(tmp_path: Path) -> None:
    configurations = resolve("clean", OPTIONS, len(DATASET.vocabulary), 9)
    whole = create_run(tmp_path / "whole", *configurations, DATASET, tmp_path)
    train(whole, DATASET)
    stopped = create_run(tmp_path / "stopped", *configurations, DATASET, tmp_path)
    with pytest.raises(Interrupted):
        train(stopped, DATASET, stop=StopAfter(2))
    as_earlier(stopped.folder / "config.json")
    as_earlier(list_checkpoints(stopped.checkpoints)[-1] / STATE)
    opened = open_run(stopped.folder)
    assert (opened.model, opened.training) == configurations
    train(opened, DATASET)
    assert_same_outcome(opened, whole)
    assert open_run(stopped.folder).recommender().model.config == configurations[0]
