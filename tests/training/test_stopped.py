"""Training that stops at any call that changes the disk: killed there, or told that the disk is full or broken."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from tagnn_fast.data import Dataset, PrefixExamples, synthetic_dataset
from tagnn_fast.files import write_text
from tagnn_fast.runs.checkpoints import list_checkpoints
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training import loop
from tagnn_fast.training.loop import train
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.stopping import Interrupted
from tests.cli.commands import assert_same_run, contents, temporary_files
from tests.stopping import Disk, Killed

DATASET = synthetic_dataset(clicks=500, items=40)
# All calls of a training are tried with 1: minutes. A prime, so that each kind of call has its turn.
STRIDE = int(os.environ.get("TAGNN_FAST_STRIDE", 61))
# Trained twice; or the test set is scored after each epoch, and every look at it is logged.
PROTOCOLS = ("held-out-refit", "published-test")


def new_run(folder: Path, protocol: str = "held-out", dataset: Dataset = DATASET) -> Run:
    options = {"hidden_size": 8, "epochs": 3, "batch_size": 128, "accelerator": "cpu", "protocol": protocol}
    options["learning_rate"] = 0.05  # the last epoch is not always the best
    longest = PrefixExamples(dataset.train).longest_prefix()
    return create_run(folder, *resolve("clean", options, len(dataset.vocabulary), longest), dataset, folder / "data")


def make_and_train(folder: Path, protocol: str) -> None:
    """What `train` does: a new run where there is none, or the one that is there."""
    run = open_run(folder) if (folder / "config.json").exists() else new_run(folder, protocol)
    train(run, DATASET)


@pytest.fixture(scope="module", autouse=True)
def quick_curves() -> Iterator[None]:
    """A picture takes longer than all the rest."""
    with (
        mock.patch.object(loop, "plot_curves", lambda history, name, path: write_text(path, name)),
        # Files of one second are ordered by this number, as text.
        mock.patch.object(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10_000)),
    ):
        yield


@pytest.fixture(scope="module", params=PROTOCOLS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, int]:
    """A run that nothing stops, and how often it changes the disk."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with Disk().in_use() as disk:
        make_and_train(folder, request.param)
    return request.param, folder, disk.calls


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


# TensorBoard writes in a thread of its own, and hands on what it meets there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", ["killed", "full", "broken"])
def test_goes_on_to_the_bit(kind: str, whole: tuple[str, Path, int], tmp_path: Path) -> None:
    """Looks at the test set are logged, none of them twice; TensorBoard has every epoch; nothing is left."""
    protocol, expected, calls = whole
    number = {"full": errno.ENOSPC, "broken": errno.EIO}.get(kind)
    offset = {"killed": 0, "full": STRIDE // 3, "broken": 2 * STRIDE // 3}[kind]
    for stop_at in range(1 + offset, calls + 1, STRIDE):
        folder = tmp_path / f"{stop_at}"
        error = None if number is None else OSError(number, os.strerror(number))
        with Disk(stop_at, error).in_use() as disk:
            try:
                make_and_train(folder, protocol)
            except Killed:
                assert kind == "killed"
            except OSError:
                assert kind != "killed"
        assert disk.stopped
        make_and_train(folder, protocol)
        assert_same_run(folder, expected)
        assert scalars(folder) == scalars(expected), stop_at
        assert temporary_files(folder) == [], stop_at


def test_ended_without_its_checkpoints(whole: tuple[str, Path, int], tmp_path: Path) -> None:
    """It stays as it is."""
    shutil.copytree(whole[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints").mkdir()
    before = contents(tmp_path / "run")
    make_and_train(tmp_path / "run", whole[0])
    assert {name: content for name, content in contents(tmp_path / "run").items() if name in before} == before


def test_weights_are_chosen_after_the_checkpoint_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the last chosen epoch are never lost; those of a new one are taken from its checkpoint."""
    whole, run = new_run(tmp_path / "whole"), new_run(tmp_path / "run")
    train(whole, DATASET)
    keep = Run.keep_model

    def full(run: Run, parameters: dict[str, torch.Tensor], epoch: int) -> None:
        if epoch == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        keep(run, parameters, epoch)

    monkeypatch.setattr(loop, "choose_epoch", lambda history: len(history))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "keep_model", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                train(run, DATASET)
            assert (run.kept_epoch(), list_checkpoints(run.checkpoints)[-1].name) == (1, "epoch-002-step-000000")
    monkeypatch.undo()
    train(run, DATASET)
    assert_same_run(run.folder, whole.folder)


def test_weights_of_an_epoch_that_was_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test figures are never those of weights that were not chosen."""
    monkeypatch.setattr(loop, "choose_epoch", lambda history: 1)
    run = new_run(tmp_path / "run")
    with pytest.raises(Interrupted):  # in the test, after the last epoch
        train(run, DATASET, stop=lambda: (run.checkpoints / "epoch-003-step-000000").exists())
    run.keep_model(load_file(run.weights), epoch=2)
    with pytest.raises(ValueError, match="expected the weights of epoch 1, got 2"):
        train(run, DATASET)


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_look_that_was_cut_off(cut: int, tmp_path: Path) -> None:
    """A log whose last line was not written to its end is read, and goes on behind the line before."""
    run = new_run(tmp_path / "run")
    for number in range(2):
        run.log_test_read("evaluate", "data", {"HR@20": float(number)})
    path = run.folder / "test_reads.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:cut]}")
    assert [read["figures"] for read in run.test_reads()] == [{"HR@20": 0.0}]
    run.log_test_read("evaluate", "data", {"HR@20": 2.0})
    assert [json.loads(line)["figures"]["HR@20"] for line in path.read_text().splitlines()] == [0.0, 2.0]
    path.write_text(f"{first}\n{second}")  # all but the line break
    run.log_test_read("evaluate", "data", {"HR@20": 2.0})
    assert [json.loads(line)["figures"]["HR@20"] for line in path.read_text().splitlines()] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "line", ["[1]", "{}", '{"reader": 1, "figures": {}}', '{"reader": "train", "figures": [1]}', "{"]
)
def test_log_of_something_else(line: str, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    path = run.folder / "test_reads.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(ValueError) as error:
        run.test_reads()
    assert str(error.value).startswith(f"{path}: expected a ")


def test_diverging_step_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss was finite; what it made of the parameters is not."""
    run = new_run(tmp_path / "run")

    def stop() -> bool:
        stop.left -= 1  # type: ignore[attr-defined]
        return stop.left == 0  # type: ignore[attr-defined]

    take = loop.Steps.take

    def diverge(self: loop.Steps, number: int) -> torch.Tensor:
        loss = take(self, number)
        if number == 1:
            with torch.no_grad():
                next(self.model.parameters())[3] = torch.nan
        return loss

    monkeypatch.setattr(loop.Steps, "take", diverge)
    stop.left = 2  # type: ignore[attr-defined]
    with pytest.raises(FloatingPointError, match="expected finite parameters"):
        train(run, DATASET, stop=stop)
    assert list(run.checkpoints.iterdir()) == []


def stopped_soon(run: Run) -> Path:
    """Trains up to the next checkpoint, which is the only one then."""
    with pytest.raises(Interrupted):
        train(run, DATASET, stop=lambda: True)
    (checkpoint,) = list_checkpoints(run.checkpoints)
    return checkpoint


def test_damaged_checkpoint_beside_an_older_one(tmp_path: Path) -> None:
    """The way out is named, and it leads there."""
    whole, run = new_run(tmp_path / "whole"), new_run(tmp_path / "run")
    train(whole, DATASET)
    older = stopped_soon(run)
    kept = Path(shutil.copytree(older, tmp_path / "kept"))
    newer = stopped_soon(run)
    kept.rename(older)
    damaged = newer / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError) as error:
        train(run, DATASET)
    assert str(error.value).endswith(f"; without {newer} the run goes on from {older.name}")
    assert str(error.value).startswith(f"{damaged}: expected a safetensors file")
    newer.rename(tmp_path / "damaged")
    train(run, DATASET)
    assert_same_run(run.folder, whole.folder)


def test_checkpoint_of_an_earlier_version(tmp_path: Path) -> None:
    """It knows no fields that were added since."""
    whole, run = new_run(tmp_path / "whole"), new_run(tmp_path / "run")
    train(whole, DATASET)
    checkpoint = stopped_soon(run)
    for path in (run.folder / "config.json", checkpoint / "state.json"):
        content = json.loads(path.read_text())
        training = content["training"] if "training" in content else content["configuration"]["training"]
        training.pop("max_clicks_per_batch", None)
        path.write_text(json.dumps(content))
    train(open_run(run.folder), DATASET)
    assert_same_run(run.folder, whole.folder)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -1},
        {"epoch": 1.0},
        {"step": "1"},
        {"step": True},
        {"step": 2},
        {"loss_sum": float("nan")},
        {"loss_sum": None},
        {"seconds": []},
        {"history": 3},
        {"history": [{}]},
        {"history": [{"epoch": 1}], "epoch": 1},
    ],
    ids=str,
)
def test_state_that_cannot_be(change: dict[str, object], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(run, DATASET, stop=lambda: True)
    path = list_checkpoints(run.checkpoints)[-1] / "state.json"
    content = json.loads(path.read_text())
    content["progress"].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected ") as error:
        train(run, DATASET)
    assert str(error.value).startswith(f"{path}: ")


def test_weights_file_of_something_else(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    save_file({"x": torch.zeros(1)}, run.weights, {"epoch": "one"})
    with pytest.raises(ValueError, match="expected a safetensors file with its epoch"):
        run.kept_epoch()
    run.weights.write_bytes(b"abc")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        run.kept_epoch()
