"""`tagnn-fast demo`: everything once, as a process of its own would do it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from unittest import mock

import pytest

from tagnn_fast.serving.served_model import load
from tests.cli.commands import finish, looks_at_test_set, refused, run, start, succeed, words

Outcome = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is started."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Outcome:
    """What it prints, and nothing else. There is no compiler, which would take half a minute for a file to export."""
    with mock.patch.dict(os.environ, {"CXX": "no-such-compiler"}):
        return finish(start("demo", "--clicks", 3000, "--epochs", 1, cwd=folder))


def test_demo(demo: Outcome, folder: Path) -> None:
    assert (demo.returncode, demo.stderr) == (0, "")
    printed = words(demo.stdout)
    for part in (
        "synthetic-3000-1000-0: ",
        "epoch 1: training loss ",
        "epoch 1, then trained on all sessions, in percent",
        "test sessions, in percent",
        "tagnn_pp",
        "vs knn",
        "sequential rules",
        "session popularity",
        "wrote demo/run",
        "wrote demo/exported",
        "see it at http://127.0.0.1:8080: tagnn-fast serve demo/exported",
    ):
        assert part in printed
    assert printed.count("┃ rank ┃ item ┃ score ┃ title ┃") == 3
    assert [look["reader"] for look in looks_at_test_set(folder / "demo" / "run")] == ["train", "evaluate"]


def test_what_to_try_next(demo: Outcome, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line is a command that works."""
    monkeypatch.chdir(folder)
    line = demo.stdout.splitlines()[-1]
    assert line.startswith("try: tagnn-fast recommend demo/run ")
    arguments = shlex.split(line)[2:]
    assert f"after {' '.join(arguments[2:])} ┏" in words(succeed(*arguments))


def test_what_it_made_can_be_used(demo: Outcome, folder: Path) -> None:
    made = folder / "demo"
    assert "synthetic-3000-1000-0" in succeed("info", made / "data")
    assert '"hidden_size": 64' in succeed("info", made / "run")
    assert load(made / "exported").vocabulary.titles is not None
    assert "looks at a test set so far: 3" in succeed("evaluate", made / "run")


def test_folder_that_exists(demo: Outcome, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    small = ("--clicks", 3000, "--epochs", 1)
    for path in (tmp_path, folder / "demo"):
        message = f"{path}: expected a folder that does not exist yet, or where a demo was stopped"
        assert refused("demo", path, *small) == message
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_stopped(tmp_path: Path) -> None:
    """The same command goes on, and no other."""
    small = (tmp_path, "--clicks", 3000, "--epochs", 2)
    process = start("demo", *small)
    while not (tmp_path / "run" / "history.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.returncode == 130
    assert stopped.stderr.endswith("go on with the same command\n")
    assert "another data set in it" in refused("demo", tmp_path, "--clicks", 2000)
    assert "epochs 2 instead of 1" in refused("demo", tmp_path, "--clicks", 3000, "--epochs", 1)
    succeed("demo", *small)
    assert load(tmp_path / "exported").vocabulary.titles is not None


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--clicks", 1, "clicks: expected 2 or more, got 1"),
        ("--clicks", 30, "validation (the last tenth of the sessions): expected at least one session of two clicks"),
        ("--epochs", 0, "epochs: expected 1 or more, got 0"),
    ],
)
def test_values_that_are_refused(option: str, value: int, expected: str, tmp_path: Path) -> None:
    """Without a folder that would be in the way of the next try."""
    outcome = run("demo", tmp_path / "demo", "--clicks", 300, option, value)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"error: {expected}")
    assert list(tmp_path.iterdir()) == []
