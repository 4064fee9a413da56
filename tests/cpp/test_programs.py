"""The C++ examples answer as the package does, without Python. `make cpp` builds them first."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
import torch

from tests.cpp.programs import PROGRAMS, ask, run
from tests.serving.folders import (
    CASES,
    assert_same_lists,
    eager,
    make_export,
    make_run,
    sample_sessions,
    without_own,
)


def check(answers: list[Any], expected: tuple[Any, torch.Tensor, list[int]]) -> None:
    columns = ([answer[name] for answer in answers] for name in ("items", "scores", "status"))
    assert_same_lists(tuple(columns), expected)


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
@pytest.mark.parametrize(("architecture", "semantics"), CASES)
def test_answers(architecture: str, semantics: str, program: str) -> None:
    recommender, folder = make_run(architecture, semantics).recommender(), make_export(architecture, semantics)
    sessions = sample_sessions()
    for k in (1, 20, 1000):
        check(ask(program, folder, sessions, k), eager(recommender, sessions, k))


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
def test_strings(program: str) -> None:
    sessions = sample_sessions(strings=True)
    expected = eager(make_run(strings=True).recommender(), sessions, 20)
    check(ask(program, make_export(strings=True), sessions, 20), expected)
    (refused,) = ask(program, make_export(strings=True), [[1, 2]], 20)
    assert refused == {"error": "items: expected strings as the model's ids, got 1"}


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
@pytest.mark.parametrize("strings", [False, True])
def test_exclude_clicked(program: str, strings: bool) -> None:
    """The whole list without the session's own items, however long."""
    sessions, folder = sample_sessions(strings), make_export(strings=strings)
    full = eager(make_run(strings=strings).recommender(), sessions, len(make_run().vocabulary))
    for k in (3, 20, 1000):
        expected = without_own(full, sessions, k)
        check(ask(program, folder, sessions, k, exclude_clicked=True), expected)


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
@pytest.mark.parametrize("strings", [False, True])
def test_choices(program: str, strings: bool) -> None:
    """Each line's own, as the package answers; unknown ids do not matter, and no candidates are no items."""
    sessions, folder = sample_sessions(strings), make_export(strings=strings)
    run = make_run(strings=strings)
    recommender, known = run.recommender(), run.vocabulary.raw_ids.to_pylist()
    unknown = "nothing" if strings else 2**64
    for choice in (
        {"candidates": [*known[5:300:3], unknown]},
        {"exclude": [*known[:500], unknown], "exclude_clicked": True},
        {"candidates": known[:40], "exclude": known[:20], "exclude_clicked": True},
        {"candidates": [unknown]},
        {"candidates": [], "exclude": []},
    ):
        answer = recommender.recommend(sessions, 20, **choice)
        found = ask(program, folder, sessions, 20, **choice)
        assert [line["items"] for line in found] == answer.items
        assert [line["status"] for line in found] == answer.status
        for line, scores in zip(found, answer.scores, strict=True):
            assert line["scores"] == pytest.approx(scores, rel=1e-5, abs=1e-5)


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
        (("folder", "--k", "1.7"), "--k: expected an integer from 1, got 1.7"),
        (("folder", "--k", "0"), "--k: expected an integer from 1, got 0"),
        (("folder", "--threads", "-1"), "--threads: expected an integer from 1, got -1"),
        (("folder", "--benchmark", "nan"), "--benchmark: expected seconds above 0, got nan"),
        (("nowhere",), "nowhere/libtagnn_fast_ops.so: cannot open shared object file"),
    ],
)
def test_errors(arguments: tuple[str, ...], message: str) -> None:
    result = subprocess.run([str(PROGRAMS / "serve"), *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    assert message in result.stderr
