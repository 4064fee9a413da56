"""Spark and DuckDB make the same data set of the same logs. Needs Java, and the extra `spark`."""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.logs import LogFormat, PrepareOptions
from tests.logs.messy import write_messy_log
from tests.logs.running import CASES, GOLDENS, USER_LOG, golden_log, prepared

LARGE = 2_000_000


def assert_same(logs: str, form: LogFormat, options: PrepareOptions, samples: bool = True) -> None:
    """Sessions and items, what was taken off the test set, how many rows were bad, and samples of them."""
    spark, duckdb = (prepared(logs, form, options, engine) for engine in ("spark", "duckdb"))
    assert len(duckdb.train) > 0
    assert spark.source["steps"] == duckdb.source["steps"]
    bad = [dataset.source["bad_rows"] for dataset in (spark, duckdb)]
    if not samples:
        bad = [{reason: found["count"] for reason, found in rows.items()} for rows in bad]
    assert bad[0] == bad[1]
    assert spark.fingerprint() == duckdb.fingerprint()
    assert spark.raw_test.equals(duckdb.raw_test)


@pytest.mark.parametrize("name", GOLDENS)
def test_real_logs(name: str) -> None:
    assert_same(*golden_log(name))


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


@pytest.mark.parametrize("quote", ['"', ""])
def test_odd_bytes(quote: str, tmp_path: Path) -> None:
    """Windows line ends, a byte order mark, blank lines, values over two lines, no UTF-8, no last line end."""
    log = tmp_path / "log.csv"
    good = [f"s{n % 4},{n},2024-05-0{1 + n % 5}" for n in range(20)]
    odd = ["", "   ", "", "  ", 's1,"2\n3",2024-05-01', 's1,"",2024-05-01']
    text = "\r\n".join(["\ufeffsession,item,time", *good[:10], *odd, *good[10:]])
    log.write_bytes(text.encode() + b"\r\ns3,\xff\xfe,2024-05-01\r\ns3,last,2024-05-01")
    form = LogFormat("odd", owner="session", item="item", time="time", quote=quote)
    assert_same(
        str(log), form, PrepareOptions(minimum_length=1, minimum_support=1, test_from="2025-01-01"), samples=False
    )


def test_compressed_text(messy: str, tmp_path: Path) -> None:
    """In each way, the names in another order than the files."""
    for path, name in zip(sorted(Path(messy).parent.iterdir()), ("c.csv.zst", "a.csv", "b.csv.gz"), strict=True):
        with pa.input_stream(path) as source, pa.output_stream(tmp_path / name) as packed:
            packed.write(source.read())
    assert_same(str(tmp_path / "*"), USER_LOG, PrepareOptions(sessions="gap"))


def test_parquet(tmp_path: Path) -> None:
    """Numbers, times and nulls, in row groups that are read apart."""
    count = 3000
    user = pa.array(np.arange(count) % 50)
    item = pa.array([None if n % 97 == 0 else n % 40 for n in range(count)], pa.int32())
    seconds = np.arange(count) * 60 + 1_700_000_000
    times = {
        "iso": pa.array(seconds * 1000, pa.timestamp("ms", "UTC")),
        "seconds": pa.array(seconds + 0.25),
        "milliseconds": pa.array(seconds * 1000),
    }
    for unit, time in times.items():
        log = tmp_path / f"{unit}.parquet"
        pq.write_table(pa.table({"user.id": user, "item": item, "time": time}), log, row_group_size=500)
        form = LogFormat("parquet", owner="user.id", owner_is_user=True, item="item", time="time", time_unit=unit)
        options = PrepareOptions(sessions="gap", minimum_support=1, gap="1h", test="1h")
        assert_same(str(log), form, options, samples=False)
