"""Recommendations by Spark's workers are those of one process, whatever becomes of a worker. Needs Java."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import refused, succeed, temporary_files
from tests.runs.small_runs import write_run
from tests.scoring.logs import USERS, write_log
from tests.scoring.running import (
    PART,
    Case,
    assert_same_files,
    assert_survives_a_kill,
    make_case,
)

SESSIONS = 16 * PART + 100


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), SESSIONS)


def test_one_worker_is_killed(case: Case, tmp_path: Path) -> None:
    """Its task is done by another, and nothing is there twice."""
    assert_survives_a_kill(case, "spark", tmp_path, SESSIONS)


def test_log(tmp_path: Path) -> None:
    """Sessions and recommendations in one application, from the command line."""
    run = write_run(tmp_path / "small", range(1000, 1090, 10))
    write_log(tmp_path / "log.csv")
    command = ("recommend", run, "-k", 3, "--from-logs", tmp_path / "log.csv", *USERS, "--gap", "10m")
    succeed(*command, "--output", tmp_path / "expected")
    succeed(*command, "--output", tmp_path / "out", "--engine", "spark", "--master", "local[2]")
    assert_same_files(tmp_path / "out", tmp_path / "expected")
    assert temporary_files(tmp_path) == []


def test_master_that_is_none(case: Case, tmp_path: Path) -> None:
    """Said in a line."""
    options = ("--input", case.sessions, "--output", tmp_path / "out", "--engine", "spark", "--master", "locall")
    assert "locall" in refused("recommend", case.run, *options)
    assert list(tmp_path.iterdir()) == []
