"""Calling the command line, in this process or in one of its own, and comparing what it left."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file

from tagnn_fast.cli import main
from tagnn_fast.runs.checkpoints import list_checkpoints

Outcome = subprocess.CompletedProcess[str]

# A model and a training that take a second.
TINY = ("--hidden-size", 8, "--batch-size", 64, "--epochs", 2, "--accelerator", "cpu", "--protocol", "held-out")
# As wide as a pipe, whatever the terminal that the tests are started from.
ENVIRONMENT = {"COLUMNS": "80"}


def run(*arguments: object) -> Outcome:
    """`tagnn-fast` with these arguments, in this process; an exception that leaves it is a traceback to the user."""
    command = ["tagnn-fast", *map(str, arguments)]
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, ENVIRONMENT),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
    assert isinstance(code, int)
    return Outcome(command, code, output.getvalue(), errors.getvalue())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "tagnn_fast.cli", *map(str, arguments)]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for its end."""
    output, errors = process.communicate(timeout=300)
    return Outcome(process.args, process.returncode, output, errors)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what the process is to do."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def succeed(*arguments: object) -> str:
    """What a command that must succeed prints."""
    outcome = run(*arguments)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    return outcome.stdout


def refused(*arguments: object) -> str:
    """The message of a command that must fail: one line."""
    return message(run(*arguments))


def message(outcome: Outcome) -> str:
    """The one line of a failure that the user can mend."""
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("\n") == 1
    return outcome.stderr.removeprefix("error: ").removesuffix("\n")


def words(text: str) -> str:
    """Text without its line breaks, and without the frames of tables."""
    return " ".join(text.replace("│", " ").split())


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def looks_at_test_set(folder: Path) -> list[dict[str, Any]]:
    """A run's log of looks at the test set."""
    path = folder / "test_reads.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def temporary_files(folder: Path) -> list[Path]:
    """What a write that failed should have taken away."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def assert_same_run(actual: Path, expected: Path) -> None:
    """Same losses, figures, weights and looks at the test set, to the bit."""

    def history(folder: Path) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = read(folder / "history.json")
        return [{name: value for name, value in record.items() if name != "training_seconds"} for record in records]

    def looks(folder: Path) -> list[dict[str, Any]]:
        return [{name: value for name, value in look.items() if name != "time"} for look in looks_at_test_set(folder)]

    assert history(actual) == history(expected)
    assert read(actual / "result.json") == read(expected / "result.json")
    assert looks(actual) == looks(expected)
    assert (actual / "held_out.safetensors").exists() == (expected / "held_out.safetensors").exists()
    for file in ("model.safetensors", "held_out.safetensors"):
        if not (expected / file).exists():
            continue
        weights, expected_weights = (load_file(folder / file) for folder in (actual, expected))
        assert weights.keys() == expected_weights.keys()
        for name, value in weights.items():
            assert torch.equal(value, expected_weights[name]), (file, name)


def newest(folder: Path) -> str:
    """The name of a run's newest checkpoint."""
    return list_checkpoints(folder / "checkpoints")[-1].name
