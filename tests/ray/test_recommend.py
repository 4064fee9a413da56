"""Recommendations by Ray's workers are those of one process, whatever becomes of a worker. Needs the extra `ray`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scoring.running import (
    PART,
    Case,
    assert_survives_a_kill,
    make_case,
)

SESSIONS = 16 * PART + 100


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), SESSIONS)


def test_one_worker_is_killed(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is done by another, and nothing is there twice."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: they wait for whoever else is on this machine
    assert_survives_a_kill(case, "ray", tmp_path, SESSIONS)
