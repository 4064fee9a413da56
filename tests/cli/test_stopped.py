"""Commands that are stopped at any call that changes the disk: what was there stays, and the same command goes on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest import mock

import pytest

from tagnn_fast.data import read_dataset
from tests.cli.commands import Outcome, run, succeed, temporary_files
from tests.stopping import Disk, Killed

# All calls are tried with 1: minutes.
STRIDE = int(os.environ.get("TAGNN_FAST_STRIDE", 31))
COLUMNS = ("--session-column", "session", "--item-column", "item", "--time-column", "time", "--time-unit", "seconds")


def write_log(path: Path, first_day: int, days: int) -> Path:
    """Six sessions of three clicks on each day."""
    rows = [
        f"{day}-{session},{(7 * day + session + click) % 9},{86_400 * (19_700 + day) + 600 * session + click}"
        for day in range(first_day, first_day + days)
        for session in range(6)
        for click in range(3)
    ]
    path.write_text("\n".join(["session,item,time", *rows, ""]))
    return path


def stopped(kind: str, number: int, command: Callable[[], Outcome]) -> bool:
    """Whether the command was stopped at that call; it says so in a line, where it still can."""
    code = {"full": errno.ENOSPC, "broken": errno.EIO}.get(kind)
    with Disk(number, None if code is None else OSError(code, os.strerror(code))).in_use() as disk:
        try:
            outcome = command()
            assert outcome.returncode == 0 or (outcome.returncode == 1 and outcome.stderr.count("\n") == 1)
        except Killed:
            assert kind == "killed"
    return disk.stopped


@pytest.mark.parametrize("kind", ["killed", "full", "broken"])
def test_prepare_logs(kind: str, tmp_path: Path) -> None:
    """The folder is not there or whole; the same command makes it, or it is made."""
    log = write_log(tmp_path / "log.csv", 0, 4)
    succeed("prepare", "logs", log, tmp_path / "expected", "--name", "data", *COLUMNS)
    expected = read_dataset(tmp_path / "expected").fingerprint()
    number = 1 + {"killed": 0, "full": 4, "broken": 8}[kind]
    data = tmp_path / "made" / "data"
    command = ("prepare", "logs", log, data, "--name", "data", *COLUMNS)
    while stopped(kind, number, lambda: run(*command)):
        if data.exists():
            assert read_dataset(data).fingerprint() == expected
            shutil.rmtree(data)
        succeed(*command)
        assert read_dataset(data).fingerprint() == expected
        assert temporary_files(tmp_path) == [], number
        shutil.rmtree(data.parent)
        number += STRIDE
    assert number > 30


@pytest.mark.parametrize("kind", ["killed", "full", "broken"])
def test_prepare_update(kind: str, tmp_path: Path) -> None:
    """The data set is that before or that after; the same command again gives that after."""
    log, later = write_log(tmp_path / "log.csv", 0, 4), write_log(tmp_path / "later.csv", 4, 1)
    before, data, expected = tmp_path / "before", tmp_path / "data", tmp_path / "expected"
    succeed("prepare", "logs", log, before, "--name", "data", *COLUMNS)
    succeed("prepare", "update", before, later, "--output", expected)
    fingerprints = [read_dataset(folder).fingerprint() for folder in (before, expected)]
    assert len(set(fingerprints)) == 2
    number = 1 + {"killed": 0, "full": 4, "broken": 8}[kind]
    shutil.copytree(before, data)
    while stopped(kind, number, lambda: run("prepare", "update", data, later)):
        place = fingerprints.index(read_dataset(data).fingerprint())  # puts it back where it was moved away
        if place == 0:
            succeed("prepare", "update", data, later)
        assert read_dataset(data).fingerprint() == fingerprints[1]
        left = [path for path in temporary_files(tmp_path) if path.name != ".data.tagnn_fast.lock"]
        assert left == [] or place == 1, number
        shutil.rmtree(data)
        for path in tmp_path.glob(".data.*"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(before, data)
        number += STRIDE
    assert number > 30


def test_export(copied: Path, tmp_path: Path) -> None:
    """The folder is not there or whole. What takes long in it is done by PyTorch and left out here."""

    def write(program: object, file: BytesIO) -> None:
        file.write(b"program")

    formats = ("--formats", "torchscript,program,compiled")
    with (
        mock.patch("tagnn_fast.serving.export.export_program", return_value=None),
        mock.patch("torch.export.save", write),
        mock.patch("tagnn_fast.serving.export.compile_program", write),
    ):
        succeed("export", copied, tmp_path / "expected", *formats)
        expected = {path.name for path in (tmp_path / "expected").rglob("*")}
        number = 1
        while stopped("killed", number, lambda: run("export", copied, tmp_path / "made" / "exported", *formats)):
            folder = tmp_path / "made" / "exported"
            if not folder.exists():
                succeed("export", copied, folder, *formats)
            assert {path.name for path in folder.rglob("*")} == expected
            shutil.rmtree(tmp_path / "made")
            number += STRIDE
    assert number > 30
