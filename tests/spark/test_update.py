"""Updates by Spark and by DuckDB give the same data set. Needs Java, and the extra `spark`."""

from __future__ import annotations

from pathlib import Path

from tagnn_fast.data import read_dataset, write_dataset
from tagnn_fast.logs import PrepareOptions
from tests.logs.messy import write_messy_log
from tests.logs.running import USER_LOG, prepared, updated


def test_update(tmp_path: Path) -> None:
    """With a part that the first log has as well, and sessions that go on."""
    write_messy_log(tmp_path / "logs", 4_000)
    first, second, third = sorted(map(str, (tmp_path / "logs").iterdir()))
    options = PrepareOptions(sessions="gap", time_zone="Asia/Tokyo", minimum_support=2, test="2d")
    before = prepared([first, second], USER_LOG, options)
    folder = tmp_path / "item=99" / "data"
    write_dataset(before, folder)
    spark, duckdb = (
        updated(read_dataset(folder), [second, third], USER_LOG, engine, 10**9) for engine in ("spark", "duckdb")
    )
    assert spark.fingerprint() == duckdb.fingerprint()
    assert spark.raw_test.equals(duckdb.raw_test)
    for what in ("clicks", "sessions", "steps"):
        assert spark.source["updates"][0][what] == duckdb.source["updates"][0][what]
    counts = spark.source["updates"][0]["clicks"]
    assert min(counts.values()) > 500
    again = prepared([first, second], USER_LOG, options, "spark")
    assert updated(again, [second, third], USER_LOG, bad=10**9).fingerprint() == duckdb.fingerprint()
