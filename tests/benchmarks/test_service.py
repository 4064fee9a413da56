"""The benchmark of the service: a short load, an end under load, and what counts as a wrong answer."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

import tagnn_fast
from benchmarks.jobs.service import Case, end, quantiles, table
from benchmarks.service_process import Checker, K
from tests.serving.http.services import exported


@pytest.fixture(scope="module")
def case() -> Case:
    return Case([exported()], seconds=1.0)


def test_load_and_end(case: Case) -> None:
    """Whatever the machine is busy with: every answer is right and none is lost."""
    (row,) = end(case, 40.0)
    assert row["wrong"] == row["lost"] == row["refused"] == row["other"] == 0
    assert row["answered"] + row["not_connected"] == 40
    assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert row["exit_status"] == 0
    lines = table([{"items": 1100, "hidden_size": 24, **row}])
    assert lines[2].startswith("| 1,100 | 24 | end | 40 |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_wrong_answers() -> None:
    sessions = [[13, 23], [33]]
    model = tagnn_fast.load(exported())
    answer = model.recommend(sessions, K)
    checker = Checker(sessions, {"v1": model})

    def wrong(number: int, change: dict[str, Any]) -> int:
        body = {"version": "v1", "items": answer.items[0], "scores": answer.scores[0], **change}
        return checker.wrong(Counter({(number, json.dumps(body).encode()): 3}))

    assert wrong(0, {}) == 0
    assert wrong(0, {"scores": [score + 1e-9 for score in answer.scores[0]]}) == 0
    assert wrong(1, {}) == 3
    assert wrong(0, {"version": "v2"}) == 3
    assert wrong(0, {"scores": [score + 0.1 for score in answer.scores[0]]}) == 3
    assert wrong(0, {"items": answer.items[0][:-1], "scores": answer.scores[0][:-1]}) == 3
    assert wrong(0, {"items": answer.items[0][:1] * K}) == 3


def test_quantiles() -> None:
    assert quantiles(np.array([]), "a_") == {"a_p50_ms": None, "a_p90_ms": None, "a_p99_ms": None}
    assert quantiles(np.arange(101) / 1e3, "")["p90_ms"] == pytest.approx(90)
