"""Training once more on all sessions, with what the held-out ones chose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagnn_fast.data import PrefixExamples
from tagnn_fast.observer import Observer
from tagnn_fast.runs.checkpoints import STATE, list_checkpoints
from tagnn_fast.runs.run import Run
from tagnn_fast.training.fit import fit
from tagnn_fast.training.loop import train
from tagnn_fast.training.stopping import Interrupted
from tests.training.test_loop import DATASET, new_run

# So fast that the best epoch is neither the first nor the last, and the rate is cut before the end.
FAST: dict[str, Any] = {"learning_rate": 0.1, "epochs": 8, "patience": 2}


def same(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, others[name]) for name, value in weights.items())


class Stopping(Observer):
    """Asks to stop after some batches on all sessions."""

    def __init__(self, batches: int) -> None:
        self.left, self.counts = batches, False

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        self.counts = what.endswith("on all sessions")

    def advance(self, examples: int, loss: float | None = None) -> None:
        self.left -= self.counts

    def __call__(self) -> bool:
        return self.left <= 0


def stop_in_refit(run: Run) -> None:
    stopping = Stopping(3)
    with pytest.raises(Interrupted, match="stopped in epoch 1 on all sessions after step 3; saved refit-epoch-000-"):
        train(run, DATASET, stopping, stopping)


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = new_run(tmp_path_factory.mktemp("refit") / "run", protocol="held-out-refit", **FAST)
    train(run, DATASET)
    return run


def test_first_what_held_out_does(refitted: Run, tmp_path: Path) -> None:
    """Then as many epochs at the same rates, without validation; the test set is read once, with other weights."""
    held_out = new_run(tmp_path / "run", protocol="held-out", **FAST)
    train(held_out, DATASET)
    result, expected, history = refitted.result, held_out.result, refitted.history
    assert result is not None
    assert expected is not None
    chosen = result["epoch"]
    assert result["refit"] == {"epochs": chosen, "examples": len(PrefixExamples(DATASET.train))}
    assert (chosen, result["validation"]) == (expected["epoch"], expected["validation"])
    assert 1 < chosen == len(held_out.history) - 2
    first, second = history[: chosen + 2], history[chosen + 2 :]
    assert [record["validation"] for record in first] == [record["validation"] for record in held_out.history]
    assert [record["learning_rate"] for record in second] == [record["learning_rate"] for record in first[:chosen]]
    assert all(record["refit"] and "validation" not in record for record in second)
    assert result["test"] != expected["test"]
    assert len(refitted.test_reads()) == 1
    assert "then on all sessions" in str(history)
    assert f"epoch {chosen}, then trained on all sessions" in str(result)


def test_then_what_all_does(tmp_path: Path) -> None:
    """To the bit, at rates fixed beforehand."""
    fixed = {"first_decay": 1, "decay_every": 1}
    run = new_run(tmp_path / "run", protocol="held-out-refit", **{**FAST, **fixed})
    chosen = train(run, DATASET)["epoch"]
    every = new_run(tmp_path / "all", protocol="all", learning_rate=0.1, epochs=chosen, **fixed)
    assert train(every, DATASET)["test"] == run.result["test"]  # type: ignore[index]
    assert same(load_file(run.weights), load_file(every.weights))


def test_weights_of_the_chosen_epoch_until_it_has_ended(refitted: Run, tmp_path: Path) -> None:
    held_out = new_run(tmp_path / "held out", protocol="held-out", **FAST)
    train(held_out, DATASET)
    run = new_run(tmp_path / "run", protocol="held-out-refit", **FAST)
    stop_in_refit(run)
    assert same(load_file(run.weights), load_file(held_out.weights))
    train(run, DATASET)
    assert same(load_file(run.weights), load_file(refitted.weights))
    for ended in (run, refitted):  # kept, as they know no session held out
        assert same(load_file(ended.held_out_weights), load_file(held_out.weights))


def test_checkpoints_of_others(tmp_path: Path) -> None:
    """Of a run that trains on all sessions, in one that does not; and one whose first training was not over."""
    run = new_run(tmp_path / "run", protocol="held-out-refit", **FAST)
    stop_in_refit(run)
    (checkpoint,) = list_checkpoints(run.checkpoints)
    content = json.loads((checkpoint / STATE).read_text())
    for history in ([], content["progress"]["history"][:2]):
        changed = {**content, "progress": {**content["progress"], "history": history}}
        (checkpoint / STATE).write_text(json.dumps(changed))
        with pytest.raises(ValueError, match="expected a checkpoint of this run, got refit-epoch-"):
            train(run, DATASET)
    changed = {**content, "progress": {**content["progress"], "refit": 3}}
    (checkpoint / STATE).write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="expected refit of where the run stands, got 3"):
        train(run, DATASET)


def test_the_same_call_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "accelerator": "cpu", **FAST}
    whole = fit(DATASET, tmp_path / "whole", protocol="held-out-refit", **options, observer=Observer())
    result = whole.result
    assert fit(DATASET, tmp_path / "whole", protocol="held-out-refit", **options, observer=Observer()).result == result
    with pytest.raises(ValueError, match="protocol 'held-out-refit' instead of 'held-out'"):
        fit(DATASET, tmp_path / "whole", protocol="held-out", **options)
