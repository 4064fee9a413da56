"""Times of every unit and format, by Spark as by DuckDB, in one job."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ibis
import pytest
from ibis import _

from tagnn_fast.logs import DuckDB, Engine, LogFormat, Spark
from tagnn_fast.logs.formats import TIMES
from tagnn_fast.logs.times import read_times
from tagnn_fast.scoring.on_spark import spark_session
from tests.logs.test_times import FORM, FORMATS, ISO, NUMBERS

# Java's `$` is before these ends of lines, too.
ENDS = tuple(f"{text}{end}" for text in ("2019-10-01", "2019-10-01 13:30:16") for end in "\n\x0b\x85\u2028\u2029")


def read_all(engine: Engine) -> dict[tuple[str, str], tuple[int | None, bool | None]]:
    """By unit or format, and text: the time, and whether it is of an unnamed zone."""
    cases: list[tuple[str, LogFormat, tuple[str, ...]]] = [
        (unit, dataclasses.replace(FORM, time_unit=unit), ISO + NUMBERS + ENDS) for unit in TIMES
    ]
    every = tuple(text for texts in FORMATS.values() for text in texts) + ENDS
    cases += [(text, dataclasses.replace(FORM, time_format=text), every) for text in FORMATS]
    read = [
        read_times(ibis.memtable({"text": list(texts)}), form).mutate(what=ibis.literal(what))
        for what, form, texts in cases
    ]
    # Kept, and asked for by name: what is of no table is computed by Ibis's own engine, whichever it should be.
    kept = engine.keep(ibis.union(*read).select("what", "text", "time", local=_.time.notnull() & _.local))
    assert kept.get_backend() is engine.connection
    rows = engine.rows(kept)
    assert len(rows) == sum(len(texts) for _what, _form, texts in cases)
    return {(row["what"], row["text"]): (row["time"], row["local"]) for row in rows}


def test_units_and_formats(tmp_path: Path) -> None:
    with DuckDB(tmp_path, "UTC") as engine:
        expected = read_all(engine)
    with Spark(tmp_path / "spark", "Europe/Vienna", master="local[2]") as engine:
        found = read_all(engine)
        with pytest.raises(ValueError, match="expected no Spark session in this process, got one"):
            Spark(tmp_path, "UTC")  # would take over that one's master and folders, and stop it
        with pytest.raises(ValueError, match="expected no Spark session"), spark_session("local[1]"):
            pass
        assert engine.session.range(3).count() == 3
    assert found == expected
    assert sum(time is not None for time, _local in expected.values()) > 130
