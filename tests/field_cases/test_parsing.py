"""Logs that users had trouble with: what their rows mean, recomputed row by row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cli.commands import read, succeed, words
from support import SHARED
from tagnn_fast.data import read_dataset

CASES = SHARED / "field_cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="no field cases")
SECONDS = ("--item-column", "item", "--time-column", "time", "--time-unit", "seconds")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_junk_id(tmp_path: Path) -> None:
    """A junk id that does not stay changes nothing."""
    logs = CASES / "one-junk-id"
    succeed("prepare", "logs", logs / "clean.csv", tmp_path / "clean", "--session-column", "session", *SECONDS)
    junk_log = logs / "one_junk_row.csv"
    printed = words(succeed("prepare", "logs", junk_log, tmp_path / "junk", "--session-column", "session", *SECONDS))
    clean, junk = read_dataset(tmp_path / "clean"), read_dataset(tmp_path / "junk")
    assert junk.fingerprint() == clean.fingerprint()
    assert junk.vocabulary.integers
    assert "item ids: integer" in printed
    (odd,) = {row["item"] for row in rows_of(logs / "one_junk_row.csv")} - {
        row["item"] for row in rows_of(logs / "clean.csv")
    }
    assert read(tmp_path / "junk" / "dataset.json")["source"]["bad_rows"] == {
        "item is no integer": {"count": 1, "some": [odd]}
    }
