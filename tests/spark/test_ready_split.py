"""Logs that are split already, by Spark and by DuckDB: text with bad rows in both, and JSON lines. Needs Java."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagnn_fast import prepare
from tests.logs.test_ready_split import QUIET, TEST, TRAIN, assert_is_their_split, otto, session_rec


@pytest.mark.parametrize("form", ["session-rec", "otto"])
def test_ready_split(form: str, tmp_path: Path) -> None:
    write = {"session-rec": session_rec, "otto": otto}[form]
    logs, tests = write(tmp_path / "train", TRAIN), write(tmp_path / "test", TEST)
    for path in (logs, tests):
        path.write_text(path.read_text() + "no row\n")
    spark, duckdb = (
        prepare(logs, test_logs=tests, format=form, max_bad_rows=1, engine=engine, observer=QUIET)
        for engine in ("spark", "duckdb")
    )
    assert_is_their_split(spark)
    assert spark.fingerprint() == duckdb.fingerprint()
    assert spark.source["steps"] == duckdb.source["steps"]
    assert spark.source["bad_rows"] == duckdb.source["bad_rows"]
    assert len([reason for reason in spark.source["bad_rows"] if reason != "another event"]) >= 2
