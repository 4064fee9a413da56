"""The C++ examples answer as the package does, without Python. `make cpp` builds them first."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from export.folders import ARCHITECTURES, SEMANTICS, eager, make_export, make_run, sample_sessions
from support import ROOT, assert_near

PROGRAMS = Path(os.environ.get("TAGNN_FAST_CPP", ROOT / "build" / "cpp"))
CASES = [(architecture, semantics) for architecture in ARCHITECTURES for semantics in SEMANTICS]


def run(program: str, folder: Path, *arguments: object, lines: Sequence[str] = ()) -> list[Any]:
    command = [str(PROGRAMS / program), str(folder), *map(str, arguments)]
    result = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def ask(program: str, folder: Path, sessions: Sequence[Sequence[object]], k: int) -> list[Any]:
    return run(program, folder, lines=[json.dumps({"items": session, "k": k}) for session in sessions])


def check(answers: list[Any], expected: tuple[Any, torch.Tensor, list[int]]) -> None:
    for answer, ids, scores, status in zip(answers, *expected, strict=True):
        assert answer["status"] == status
        assert_near(torch.tensor(answer["scores"]), scores, 1e-5)
        close = scores.diff().abs() < 1e-4 * scores.abs().max()
        if not bool(close.any()):
            assert answer["items"] == ids


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
@pytest.mark.parametrize(("architecture", "semantics"), CASES)
def test_answers(architecture: str, semantics: str, program: str) -> None:
    recommender, folder = make_run(architecture, semantics).load_recommender(), make_export(architecture, semantics)
    sessions = sample_sessions()
    for k in (1, 20, 1000):
        check(ask(program, folder, sessions, k), eager(recommender, sessions, k))


def test_strings() -> None:
    sessions = sample_sessions(strings=True)
    expected = eager(make_run(strings=True).load_recommender(), sessions, 20)
    check(ask("serve", make_export(strings=True), sessions, 20), expected)


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
def test_bad_lines_are_answered(program: str) -> None:
    lines = ["nonsense", "{}", '{"items": "x"}', '{"items": [13], "k": 2}']
    *errors, answer = run(program, make_export(), lines=lines)
    assert all(list(error) == ["error"] for error in errors)
    assert len(answer["items"]) == 2


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
def test_threads(program: str) -> None:
    """Eight threads get the answers of one."""
    seconds = os.environ.get("TAGNN_FAST_THREAD_SECONDS", "2")
    (figures,) = run(program, make_export(), "--benchmark", seconds, "--threads", 8)
    assert figures["wrong"] == 0
    assert figures["answers"] > 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected the folder that tagnn-fast export wrote"),
        (("folder", "--speed", "9"), "--speed: expected a folder and --k"),
        (("folder", "--k"), "--k: expected a value"),
        (("nowhere",), "nowhere/libtagnn_fast_ops.so: cannot open shared object file"),
    ],
)
def test_errors(arguments: tuple[str, ...], message: str) -> None:
    result = subprocess.run([str(PROGRAMS / "serve"), *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    assert message in result.stderr
