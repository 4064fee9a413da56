"""Runs that stop: by Ctrl-C, a kill, a full disk. They go on to the same numbers, or say why they cannot."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.progress import ProgressObserver
from tagnn_fast.runs.checkpoints import list_checkpoints
from tagnn_fast.training import loop
from tests.cli.commands import (
    TINY,
    assert_same_run,
    contents,
    finish,
    looks_at_test_set,
    message,
    newest,
    read,
    refused,
    run,
    start,
    succeed,
    temporary_files,
    wait_until,
    words,
)
from tests.support import forget_digests

# Epochs of about 200 steps: long enough to be met in the middle.
LONG = ("--hidden-size", 8, "--batch-size", 3, "--epochs", 3, "--accelerator", "cpu", "--protocol", "held-out")
Interrupt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def uninterrupted(data: Path) -> Path:
    """A long run that nothing stopped."""
    folder = data.parent / "uninterrupted"
    succeed("train", data, "--run", folder, *LONG)
    return folder


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch, data: Path) -> Interrupt:
    """Trains TINY in this process and presses Ctrl-C after so many batches, those of evaluations counted too."""

    def train(folder: Path, batches: int, *options: object) -> subprocess.CompletedProcess[str]:
        left, advance = iter(range(batches - 1, -1, -1)), ProgressObserver.advance

        def press(self: ProgressObserver, *arguments: Any) -> None:
            advance(self, *arguments)
            if next(left, None) == 0:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patched:
            patched.setattr(ProgressObserver, "advance", press)
            return run("train", data, "--run", folder, *TINY, *options)

    return train


def check_interrupted(outcome: subprocess.CompletedProcess[str], folder: Path, checkpoint: str) -> None:
    assert outcome.returncode == 130
    assert "Traceback" not in outcome.stderr
    assert f"saved {checkpoint}" in words(outcome.stderr)
    assert words(outcome.stderr).endswith(f"go on with: tagnn-fast train --resume {folder}")
    assert f"wrote {folder}" not in outcome.stdout
    assert (folder / "checkpoints" / checkpoint / "state.json").exists()
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal(number: signal.Signals, data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """Ctrl-C in the second epoch, SIGTERM in the first."""
    folder = tmp_path / "run"
    process = start("train", data, "--run", folder, *LONG)
    epoch = 1 if number == signal.SIGINT else 0
    began = "history.json" if epoch else "tensorboard/*"
    wait_until(lambda: any(folder.glob(began)), process)
    process.send_signal(number)
    outcome = finish(process)
    assert outcome.returncode == 130, outcome.stderr
    checkpoint = newest(folder)
    assert checkpoint.startswith(f"epoch-{epoch:03d}-step-")
    assert not checkpoint.endswith("step-000000")
    assert "stopping after this step; press Ctrl-C again to stop without a checkpoint" in outcome.stderr
    check_interrupted(outcome, folder, checkpoint)
    assert "not finished" in succeed("info", folder)
    succeed("train", "--resume", folder)
    assert_same_run(folder, uninterrupted)


# TINY has 10 steps in an epoch, then a batch of validation; at last one of the test set.
@pytest.mark.parametrize(
    ("batches", "checkpoint"),
    [
        (1, "epoch-000-step-000001"),
        (7, "epoch-000-step-000007"),
        (10, "epoch-000-step-000010"),
        (11, "epoch-000-step-000010"),
        (12, "epoch-001-step-000001"),
        (22, "epoch-001-step-000010"),
        (23, "epoch-002-step-000000"),
    ],
)
def test_ctrl_c_at_any_time(batches: int, checkpoint: str, interrupt: Interrupt, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    check_interrupted(interrupt(folder, batches), folder, checkpoint)
    assert newest(folder) == checkpoint
    assert len(list((folder / "checkpoints").iterdir())) == 1
    succeed("train", "--resume", folder)
    assert_same_run(folder, trained)
    assert temporary_files(folder) == []


@pytest.mark.parametrize("name", ["long" * 20, "[red]", "[/x]"])
def test_how_to_go_on_is_one_line(name: str, interrupt: Interrupt, tmp_path: Path) -> None:
    """To be copied: neither broken nor read as markup."""
    printed = interrupt(tmp_path / name, 1).stderr
    assert printed.splitlines()[-1] == f"go on with: tagnn-fast train --resume {tmp_path / name}"


def test_ctrl_c_in_the_last_evaluation_names_an_epoch_of_the_run(interrupt: Interrupt, tmp_path: Path) -> None:
    outcome = interrupt(tmp_path / "run", 23)
    assert outcome.returncode == 130
    assert "stopped in epoch 3" not in outcome.stderr  # there are two


def test_interrupted_again_and_again(
    interrupt: Interrupt, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    interrupt(folder, 1)
    advance = ProgressObserver.advance

    def press(self: ProgressObserver, *arguments: Any) -> None:
        advance(self, *arguments)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(ProgressObserver, "advance", press)
        for _ in range(12):
            assert run("train", "--resume", folder).returncode == 130
    succeed("train", "--resume", folder)
    assert_same_run(folder, trained)


def test_second_ctrl_c(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks off at once, without a checkpoint and without a traceback."""

    def press_twice(self: ProgressObserver, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressObserver, "advance", press_twice)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    outcome = run("train", data, "--run", tmp_path / "run", *TINY)
    assert outcome.returncode == 130
    assert "Traceback" not in outcome.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_killed_at_random(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """SIGKILL asks nobody; what is on the disk is whole all the same."""
    folder = tmp_path / "run"
    for kill in range(5):
        arguments = ("--resume", folder) if kill else (data, "--run", folder, *LONG)
        before = len(list(folder.glob("tensorboard/*")))
        process = start("train", *arguments)
        wait_until(lambda before=before: len(list(folder.glob("tensorboard/*"))) > before, process)  # type: ignore[misc]
        time.sleep(random.random())  # anywhere in an epoch or so
        process.kill()
        finish(process)
        for checkpoint in list_checkpoints(folder / "checkpoints"):
            assert {path.name for path in checkpoint.iterdir()} == {
                "model.safetensors",
                "optimizer.safetensors",
                "random.safetensors",
                "state.json",
            }
    succeed("train", "--resume", folder)
    assert_same_run(folder, uninterrupted)


def test_full_disk(data: Path, interrupt: Interrupt, tmp_path: Path) -> None:
    """The next checkpoint does not fit: a line that says so, the checkpoint before is as it was, nothing else left."""
    folder = tmp_path / "run"
    # Without the table of neighbours, optimiser state is twice the model, which still fits.
    interrupt(folder, 15, "--neighbour-weight", 0)
    before = contents(folder / "checkpoints")
    limit = (folder / "model.safetensors").stat().st_size * 3 // 2
    process = start(
        "train", "--resume", folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    printed = message(finish(process))
    assert "optimizer.safetensors" in printed
    assert "File too large" in printed
    assert contents(folder / "checkpoints") == before
    assert temporary_files(folder) == []
    assert len(read(folder / "history.json")) == 1
    succeed("train", "--resume", folder)
    succeed("train", data, "--run", tmp_path / "whole", *TINY, "--neighbour-weight", 0)
    assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [
        (loop.Run, "keep_model", 1),
        (loop, "save_checkpoint", 1),
        (loop, "save_checkpoint", 2),
        (loop, "write_json", 1),  # history.json after the first epoch
        (loop, "write_json", 2),  # and after the second
        (loop.Run, "log_test_read", 1),
        (loop, "write_json", 3),  # result.json
        (loop, "plot_curves", 1),
    ],
)
def test_disk_full_at_any_file(
    where: object, name: str, calls: int, data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the one that does not fit, the run goes on to all of its files."""
    folder, left, write = tmp_path / "run", iter(range(calls - 1, -1, -1)), getattr(where, name)

    def full(*arguments: Any, **more: Any) -> Any:
        if next(left, None) == 0:
            raise OSError(28, "No space left on device", "a file")
        return write(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(where, name, full)
        printed = refused("train", data, "--run", folder, *TINY)
    assert printed == "[Errno 28] No space left on device: 'a file'"
    assert temporary_files(folder) == []
    succeed("train", "--resume", folder)
    assert_same_run(folder, trained)
    assert {path.name for path in folder.iterdir()} == {path.name for path in trained.iterdir()}


def test_finished_run(copied: Path, trained: Path) -> None:
    """There is nothing left to do, and no second look at the test set."""
    assert f"wrote {copied}" in words(succeed("train", "--resume", copied))
    assert_same_run(copied, trained)
    assert len(looks_at_test_set(copied)) == 1


@pytest.mark.parametrize(
    "options", [("--epochs", 9), ("--run", "other"), ("--preset", "published-diginetica"), ("--no-hybrid",)]
)
def test_resume_takes_no_other_options(options: tuple[object, ...], copied: Path) -> None:
    before = contents(copied)
    assert refused("train", "--resume", copied, *options) == (
        "--resume: expected no other options, a run goes on with the configuration it has"
    )
    assert contents(copied) == before


def test_data_set_that_moved(data: Path, trained: Path, interrupt: Interrupt, tmp_path: Path) -> None:
    folder, moved = tmp_path / "run", Path(shutil.copytree(data, tmp_path / "moved"))
    interrupt(folder, 3)
    config = read(folder / "config.json")
    config["dataset"]["path"] = str(tmp_path / "nowhere")
    (folder / "config.json").write_text(json.dumps(config))
    assert refused("train", "--resume", folder) == (
        f"{tmp_path / 'nowhere'}: expected a data set folder with a dataset.json in it"
    )
    succeed("train", moved, "--resume", folder)
    assert_same_run(folder, trained)


def with_table(folder: Path, file: str, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(folder / file)), folder / file)


CHANGES: dict[str, Callable[[Path], None]] = {
    "fewer sessions": lambda folder: with_table(folder, "train.parquet", lambda table: table.slice(1)),
    "fewer test sessions": lambda folder: with_table(folder, "test.parquet", lambda table: table.slice(1)),
    # The counts of these are what they were.
    "another order": lambda folder: with_table(folder, "train.parquet", lambda table: table.take(
        list(reversed(range(table.num_rows)))
    )),
    "other items": lambda folder: with_table(
        folder,
        "items.parquet",
        lambda table: table.set_column(0, "raw_id", pa.array(range(7, 7 + table.num_rows), pa.int64())),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_data_set_that_changed(change: str, data: Path, interrupt: Interrupt, tmp_path: Path) -> None:
    folder, other = tmp_path / "run", Path(shutil.copytree(data, tmp_path / "data"))
    interrupt(folder, 3)
    forget_digests(other / "dataset.json")
    CHANGES[change](other)
    before = contents(folder)
    assert refused("train", other, "--resume", folder).startswith("dataset: expected ")
    assert contents(folder) == before
