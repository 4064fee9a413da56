"""Training: what a run leaves, that it can stop anywhere and go on to the bit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagnn_fast import cpu_capability
from tagnn_fast.data import Dataset, PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.evaluation.ranks import rank_model, read_ranks
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.observer import Observer
from tagnn_fast.runs.checkpoints import list_checkpoints
from tagnn_fast.runs.configuration import PROTOCOLS
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training import loop
from tagnn_fast.training.loop import train
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.stopping import Interrupted

DATASET = synthetic_dataset(clicks=700, items=50)
SMALL = {"hidden_size": 8, "epochs": 2, "batch_size": 64, "accelerator": "cpu", "protocol": "held-out"}


def new_run(folder: Path, preset: str = "clean", dataset: Dataset = DATASET, **overrides: Any) -> Run:
    longest = PrefixExamples(dataset.train).longest_prefix()
    configurations = resolve(preset, {**SMALL, **overrides}, len(dataset.vocabulary), longest)
    return create_run(folder, *configurations, dataset, folder / "data")


def outcome(run: Run) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, torch.Tensor]]:
    """Everything that must be the same in every run of a configuration."""
    history = json.loads((run.folder / "history.json").read_text())
    for record in history:
        del record["training_seconds"]
    return history, json.loads((run.folder / "result.json").read_text()), load_file(run.weights)


def assert_same_outcome(run: Run, other: Run) -> None:
    (history, result, weights), (other_history, other_result, other_weights) = outcome(run), outcome(other)
    assert history == other_history
    assert result == other_result
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())


class StopAfter:
    """Says stop at the n-th question."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("preset", ["clean", "published-diginetica"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_run_leaves(protocol: str, preset: str, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", preset, protocol=protocol)
    result = train(run, DATASET)
    names = {path.name for path in run.folder.iterdir()}
    expected = {"config.json", "items.parquet", "checkpoints", "tensorboard", "history.json", "result.json"}
    expected |= {"curves.png", "model.safetensors"}
    expected |= {"held_out.safetensors"} if protocol == "held-out-refit" else set()
    expected |= set() if protocol.startswith("published") else {"test_ranks.parquet"}
    assert names == expected | (set() if protocol == "published" else {"test_reads.jsonl"})
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run.folder / "tensorboard").iterdir())
    last = f"refit-epoch-{result['epoch']:03d}" if protocol == "held-out-refit" else "epoch-002"
    assert [path.name for path in list_checkpoints(run.checkpoints)] == [f"{last}-step-000000"]
    reads = [read["epoch"] for read in run.test_reads()]
    chosen = [result["epoch"]]
    assert reads == {"published": [], "published-test": [1, 2]}.get(protocol, chosen)
    assert protocol != "all" or chosen == [2]
    assert ("test" in result) == (not protocol.startswith("published"))
    assert ("best_of_each_metric" in result) == protocol.startswith("published")
    assert bool(result["caution"]) == protocol.startswith("published")
    assert json.loads((run.folder / "result.json").read_text()) == result


def test_test_figures_are_those_of_the_kept_weights(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    result = train(run, DATASET)
    examples = PrefixExamples(DATASET.test)
    recommender = open_run(run.folder).recommender()
    assert score_model(recommender, examples) == result["test"]
    ranked = read_ranks(run.test_ranks, len(examples))
    assert ranked.figures == result["test"]
    assert torch.equal(ranked.ranks, rank_model(recommender, examples).ranks)


def test_weights_are_for_whoever_may_read_the_folder(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    train(run, DATASET)
    assert run.weights.stat().st_mode == (run.folder / "result.json").stat().st_mode


def test_two_processes(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with run.lock(), pytest.raises(BlockingIOError, match="expected a run that no other process trains"):
        train(run, DATASET)
    train(run, DATASET)


def test_leftovers_of_a_killed_process(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    for left in (run.checkpoints / ".epoch-000-step-000003", run.folder / ".history.json"):
        folder = left.with_name(f"{left.name}.0123456789abcdef.tmp")
        folder.mkdir()
        (folder / "tagnn_fast.lock").touch()
        (folder / "new").touch()
    train(run, DATASET)
    assert list(run.folder.rglob(".*.tmp")) == []


def test_learns(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", epochs=6, learning_rate=0.01, first_decay=6, patience=0)
    train(run, DATASET)
    losses = [record["training_loss"] for record in outcome(run)[0]]
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("protocol", ["held-out", "held-out-refit"])
def test_stops_anywhere_and_goes_on_to_the_bit(protocol: str, tmp_path: Path) -> None:
    """After any step, in the validation, on all sessions and in the test, alone and again and again."""
    whole = new_run(tmp_path / "whole", protocol=protocol)
    questions = StopAfter(0)
    train(whole, DATASET, stop=questions)
    asked = -questions.left
    assert asked > 12
    for number in range(1, asked + 1):
        run = new_run(tmp_path / f"after {number}", protocol=protocol)
        with pytest.raises(Interrupted):
            train(run, DATASET, stop=StopAfter(number))
        train(open_run(run.folder), DATASET)
        assert_same_outcome(run, whole)
    run = new_run(tmp_path / "again and again", protocol=protocol)
    for _ in range(asked):
        try:
            train(run, DATASET, stop=StopAfter(3))
        except Interrupted:
            continue
        break
    assert_same_outcome(run, whole)
    assert len(run.test_reads()) == 1


def test_finished_run_stays(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    result = train(run, DATASET)
    assert train(run, DATASET) == result
    assert len(run.test_reads()) == 1


@pytest.mark.filterwarnings("ignore:tagnn_fast. target attention stays in float32")
@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "high", "medium"])
def test_precisions(precision: str, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", precision=precision)
    result = train(run, DATASET)
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert all(value.dtype == dtype for value in load_file(run.weights).values())
    assert score_model(run.recommender(), PrefixExamples(DATASET.test)).keys() == result["test"].keys()


def test_medium_precision_is_repeatable(tmp_path: Path) -> None:
    first, second, single = (
        new_run(tmp_path / name, precision=precision)
        for name, precision in (("first", "medium"), ("second", "medium"), ("single", "32-true"))
    )
    for run in (first, second, single):
        train(run, DATASET)
    assert_same_outcome(first, second)
    rounds = cpu_capability() in ("avx512_bf16", "amx")
    assert rounds == any(not torch.equal(value, outcome(single)[2][name]) for name, value in outcome(first)[2].items())
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("architecture", ["tagnn", "sr_gnn"])
def test_architectures(architecture: str, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", architecture=architecture)
    train(run, DATASET)
    assert type(run.recommender().model).__name__.lower() == architecture.replace("_", "")


def test_without_a_test_set(tmp_path: Path) -> None:
    dataset = Dataset("no test", DATASET.train, Sessions.from_lists([]), DATASET.vocabulary)
    run = new_run(tmp_path / "run", dataset=dataset)
    assert "test" not in train(run, dataset)


def test_observer_sees_every_example(tmp_path: Path) -> None:
    class Counter(Observer):
        def __init__(self) -> None:
            self.expected: list[tuple[str, int]] = []
            self.seen: list[int] = []
            self.epochs: list[int] = []

        def begin(self, what: str, examples: int, done: int = 0) -> None:
            self.expected.append((what, examples))
            self.seen.append(done)

        def advance(self, examples: int, loss: float | None = None) -> None:
            self.seen[-1] += examples

        def end_epoch(self, record: dict[str, Any]) -> None:
            self.epochs.append(record["epoch"])

    counter = Counter()
    train(new_run(tmp_path / "run"), DATASET, counter)
    assert [what for what, _ in counter.expected] == ["epoch 1", "validation", "epoch 2", "validation", "test"]
    assert counter.seen == [examples for _, examples in counter.expected]
    assert counter.epochs == [1, 2]


def test_divergence(tmp_path: Path) -> None:
    """A loss that is not finite ends the run; the checkpoint before it stays."""
    run = new_run(tmp_path / "run", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"expected finite (numbers|parameters)"):
        train(run, DATASET)
    assert all(path.name.startswith("epoch-000") for path in list_checkpoints(run.checkpoints))
    with pytest.raises(FloatingPointError):  # asked to stop, it does not save what has diverged
        train(run, DATASET, stop=StopAfter(5))
    for path in list_checkpoints(run.checkpoints):
        assert all(bool(value.isfinite().all()) for value in load_file(path / "model.safetensors").values())


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    names = ["epoch-999-step-999999", "epoch-999-step-1000000", "epoch-1000-step-000000"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == names


def test_weights_that_are_not_those_of_the_checkpoint(tmp_path: Path) -> None:
    """Where the last epoch is the chosen one, its checkpoint has them."""
    whole, run = new_run(tmp_path / "whole", protocol="all"), new_run(tmp_path / "run", protocol="all")
    train(whole, DATASET)
    with pytest.raises(Interrupted):  # in the test, after the last epoch
        train(run, DATASET, stop=lambda: (run.checkpoints / "epoch-002-step-000000").exists())
    run.keep_model({name: value + 1 for name, value in load_file(run.weights).items()}, epoch=1)
    train(run, DATASET)
    assert_same_outcome(run, whole)


def test_another_data_set(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    other = Dataset("other", DATASET.train.slice(0, len(DATASET.train) - 1), DATASET.test, DATASET.vocabulary)
    with pytest.raises(ValueError, match="dataset: expected the sessions and items of the run's"):
        train(run, other)


def test_checkpoint_of_another_configuration(tmp_path: Path) -> None:
    run, other = new_run(tmp_path / "run"), new_run(tmp_path / "other", hidden_size=16, seed=3)
    train(other, DATASET)
    list_checkpoints(other.checkpoints)[-1].rename(run.checkpoints / "epoch-002-step-000000")
    with pytest.raises(ValueError, match=r"model.hidden_size: 16 instead of 8; training.seed: 3 instead of 0"):
        train(run, DATASET)


def test_damaged_checkpoint(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(run, DATASET, stop=StopAfter(2))
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"):
        path = list_checkpoints(run.checkpoints)[-1] / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=name):
            train(run, DATASET)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the format has no checksum of its own
        with pytest.raises(ValueError, match=name):
            train(run, DATASET)
        path.write_bytes(content)
    train(run, DATASET)
    content = run.weights.read_bytes()
    run.weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"model.safetensors: expected the tensors that were written, got a damaged"):
        run.recommender()


def test_checkpoint_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before stays, nothing half-written does, and the run goes on from it to the bit."""
    whole, run = new_run(tmp_path / "whole"), new_run(tmp_path / "run")
    train(whole, DATASET)
    with pytest.raises(Interrupted):
        train(run, DATASET, stop=StopAfter(2))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tagnn_fast.runs.checkpoints.write_json", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(run, DATASET)
    assert [path.name for path in run.checkpoints.iterdir()] == ["epoch-000-step-000002"]
    train(run, DATASET)
    assert_same_outcome(run, whole)


def test_logs_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at the loss more often changes nothing."""
    whole, often = new_run(tmp_path / "whole"), new_run(tmp_path / "often")
    train(whole, DATASET)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    train(often, DATASET)
    assert_same_outcome(whole, often)
