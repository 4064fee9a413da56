"""Recommendations by Spark's workers are those of one process, whatever becomes of a worker. Needs Java."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagnn_fast.observer import Observer
from tagnn_fast.scoring import score_sessions
from tests.cli.commands import temporary_files
from tests.scoring.running import ASKED, PART, Case, assert_same_files, make_case, one_worker_killed

SESSIONS = 16 * PART + 100


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), SESSIONS)


def test_one_worker_is_killed(case: Case, tmp_path: Path) -> None:
    """Its task is done by another, and nothing is there twice."""
    with one_worker_killed(tmp_path / "out") as killed:
        summary = score_sessions(
            case.run, case.sessions, tmp_path / "out", ASKED, "spark", "local[2]", Observer(), sessions=PART
        )
    assert len(killed) == 1
    assert summary.answered.sessions == SESSIONS
    assert_same_files(tmp_path / "out", case.expected)
    assert temporary_files(tmp_path) == []
