"""Spark and DuckDB make the same data set of the same logs. Needs Java, and the extra `spark`."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest

from logs.messy import write_messy_log
from logs.running import CASES, GOLDENS, USER_LOG, paper_options, prepared
from support import SHARED
from tagnn_fast.logs import FORMATS, LogFormat, PrepareOptions

LARGE = 2_000_000


def assert_same(logs: str, form: LogFormat, options: PrepareOptions) -> None:
    """Sessions and items, what was taken off the test set, what became of the rows, and samples of the bad ones."""
    spark, duckdb = (prepared(logs, form, options, engine) for engine in ("spark", "duckdb"))
    assert len(duckdb.train) > 0
    assert spark.source["steps"] == duckdb.source["steps"]
    assert spark.source["bad_rows"] == duckdb.source["bad_rows"]
    assert spark.fingerprint() == duckdb.fingerprint()
    assert spark.raw_test.equals(duckdb.raw_test)


@pytest.mark.parametrize("name", GOLDENS)
def test_real_logs(name: str) -> None:
    form, log, fraction = GOLDENS[name]
    path = SHARED / "data" / log
    if not path.exists():
        pytest.skip("no real logs")
    assert_same(str(path), FORMATS[form], paper_options(form, fraction))


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_messy_log(tmp_path_factory.mktemp("messy"), 20_000)


@pytest.mark.parametrize("case", CASES)
def test_messy_log(case: str, messy: str) -> None:
    assert_same(messy, USER_LOG, PrepareOptions(**CASES[case]))


def test_large_messy_log(tmp_path: Path) -> None:
    """Read in splits, by more than one task each."""
    logs = write_messy_log(tmp_path / "log", LARGE, seed=1, files=4)
    assert_same(logs, USER_LOG, PrepareOptions(sessions="gap", collapse_repeats=True))


# Texts that both must read the same way, or not at all; and names that neither may take for anything else.
TIMES = (
    "2024-05-01", "2024-05-01T10:00", "2024-05-01 10:00:00.1", "2024-05-01T10:00:00.123456789Z",
    "2024-05-01T10:00:00+02", "2024-05-01 10:00:00 +02:00", "2024-05-01T10:00Z", "2024-05-01Z",
    "2024-05-01 24:00:00", "2024-05-01 23:59:60",
    "2024-02-29", "2023-02-29", "0001-01-01", "9999-12-31", "1969-12-31 23:59:59.5", "2024-03-31 02:30:00",
    "2024-05-01 10:00:00-18:30", "2024-05-01 10:00:00+02:60", "2024", "now", "infinity", "today", "1714521600",
)  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna"])
def test_times_and_names(zone: str, tmp_path: Path) -> None:
    log = tmp_path / "l og[1]%20 'a'.csv"
    log.write_text("row,the.item `x`,line\n" + "".join(f"s{n % 3},{n},{time}\n" for n, time in enumerate(TIMES)))
    form = LogFormat("odd", owner="row", item="the.item `x`", time="line")
    options = PrepareOptions(minimum_length=1, minimum_support=1, test_from="9999-01-01", time_zone=zone)
    assert_same(glob.escape(str(log)), form, options)
