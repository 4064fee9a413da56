"""Files of every kind, by Spark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagnn_fast.logs import Spark
from tests.logs.reading_cases import CASES, assert_reads


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    with Spark(tmp_path_factory.mktemp("spark"), "UTC", master="local[2]") as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_rows(name: str, engine: Spark, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    assert_reads(case, engine)
    engine.session.sql("DROP TABLE IF EXISTS read")
    assert not list(engine.folder.rglob("*.txt"))
