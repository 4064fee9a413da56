"""Data frames as logs: each type means what it means in the Parquet file that its library writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.logs import LogFormat, find_files
from tagnn_fast.logs.frames import found_logs
from tagnn_fast.logs.parquet import parquet_rows

FORM = LogFormat("generic", owner="session", item="item", time="time")
TIME = datetime(2024, 5, 1, 12, 30, 0, 250_000)
LATER = TIME + timedelta(days=200)
TOKYO = ZoneInfo("Asia/Tokyo")
ODD = pa.nulls(2, pa.month_day_nano_interval())
NUMBERS = [1_714_566_600, 1_714_566_601]


def in_pandas(columns: dict[str, Any], path: Path) -> Any:
    frame = pandas.DataFrame(columns)
    frame.to_parquet(path)
    return frame


def in_polars(columns: dict[str, Any], path: Path) -> Any:
    frame = polars.DataFrame(columns)
    frame.write_parquet(path)
    return frame


def in_arrow(columns: dict[str, Any], path: Path) -> Any:
    table = pa.table(columns)
    pq.write_table(table, path)
    return table


def rows_of(logs: Any, form: LogFormat, folder: Path) -> list[tuple[Any, ...]]:
    """Session, item and time of each click as text, and why it cannot be used."""
    with found_logs(logs, form, folder) as files:
        assert files.described  # as before they are read
        parts = list(parquet_rows(files, ["session", "item", "time"]))
    return [row for fields, fault, _ in parts for row in zip(*map(pa.Array.to_pylist, (*fields, fault)), strict=True)]


def columns(**changed: Any) -> dict[str, Any]:
    return {"session": ["a", "b"], "item": ["x", "y"], "time": [TIME, LATER], **changed}


@pytest.mark.parametrize("library", [in_pandas, in_polars, in_arrow])
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("a", "x", "2024-05-01 12:30:00.25")),
        ({"time": [TIME.replace(tzinfo=TOKYO), LATER.replace(tzinfo=TOKYO)]}, ("a", "x", "2024-05-01 03:30:00.25Z")),
        ({"time": [date(2024, 5, 1)] * 2}, ("a", "x", "2024-05-01")),
        ({"time": ["2024-05-01T12:30+02:00"] * 2}, ("a", "x", "2024-05-01T12:30+02:00")),
        ({"time": NUMBERS}, ("a", "x", "1714566600")),
        ({"time": [1_714_566_600.25] * 2}, ("a", "x", "1714566600.25")),
        ({"session": [1, 2], "item": [2**62, -7]}, ("1", str(2**62), "2024-05-01 12:30:00.25")),
        ({"item": ["007", None]}, ("a", "007", "2024-05-01 12:30:00.25")),
        ({"session": [None, "b"]}, (None, "x", "2024-05-01 12:30:00.25")),
        ({"time": [None, TIME]}, ("a", "x", None)),
        ({"item": [Decimal(5), Decimal(7)]}, ("a", "5", "2024-05-01 12:30:00.25")),
        ({"item": [["x", "y"], []]}, ("a", "x", "2024-05-01 12:30:00.25")),
        ({"item": [["x", "y"], ["z"]], "time": [[TIME, TIME], [TIME]]}, ("a", "x", "2024-05-01 12:30:00.25")),
    ],
)
def test_types(
    library: Callable[[dict[str, Any], Path], Any], changed: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    frame = library(columns(**changed), tmp_path / "written.parquet")
    rows = rows_of(frame, FORM, tmp_path)
    assert rows == rows_of(tmp_path / "written.parquet", FORM, tmp_path)
    session, item, time, fault = rows[0]
    assert (session, item, fault) == (*expected[:2], None)
    # Of how many digits a fraction is depends on the unit that a library has.
    assert time is expected[2] or re.sub(r"(\.\d+?)0+(?=Z?$)", r"\1", time) == expected[2]
    assert len(rows) == (3 if isinstance(changed.get("item", [0])[0], list) else 2)


def test_categoricals(tmp_path: Path) -> None:
    values = columns(item=["x", "y"])
    frame = pandas.DataFrame(values).astype({"item": "category", "session": "category"})
    other = polars.DataFrame(values).with_columns(
        polars.col("item").cast(polars.Categorical), polars.col("session").cast(polars.Enum(["a", "b"]))
    )
    dictionary = pa.table({**values, "item": pa.array(["x", "y"]).dictionary_encode()})
    for found in (frame, other, dictionary):
        assert [row[:2] for row in rows_of(found, FORM, tmp_path)] == [("a", "x"), ("b", "y")]
    lists = polars.DataFrame(columns(item=[["x", "y"], None])).with_columns(
        polars.col("item").cast(polars.List(polars.Categorical))
    )
    assert [row[:2] for row in rows_of(lists, FORM, tmp_path)] == [("a", "x"), ("a", "y"), ("b", None)]


def test_no_rows(tmp_path: Path) -> None:
    assert rows_of(polars.DataFrame(columns()).clear(), FORM, tmp_path) == []


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_units_of_time(unit: str, tmp_path: Path) -> None:
    whole = [TIME.replace(microsecond=0)] * 2
    for kind, end in ((pa.timestamp(unit), ""), (pa.timestamp(unit, "UTC"), "Z")):
        table = pa.table(columns(time=pa.array(whole, kind)))
        pq.write_table(table, tmp_path / "written.parquet")
        rows = rows_of(table, FORM, tmp_path)
        assert rows == rows_of(tmp_path / "written.parquet", FORM, tmp_path)
        assert rows[0][2].startswith("2024-05-01 12:30:00")
        assert rows[0][2].endswith("Z") == bool(end)


def test_only_what_is_named(tmp_path: Path) -> None:
    """Other columns may be of types that Parquet has not; an index may be the session."""
    frame = pandas.DataFrame(columns()).set_index("session")
    assert [row[0] for row in rows_of(frame, FORM, tmp_path)] == ["a", "b"]
    odd = pa.table({**columns(), "odd": ODD})
    assert len(rows_of(odd, FORM, tmp_path)) == 2
    mixed = pandas.DataFrame(columns(odd=["x", 7], **{" item": ["x", 7]})).drop(columns="item")
    with pytest.raises(TypeError, match="expected columns of one type each"):
        rows_of(mixed, FORM, tmp_path)
    mixed[" item"] = ["x", "y"]
    assert [row[1] for row in rows_of(mixed, FORM, tmp_path)] == ["x", "y"]


@pytest.mark.parametrize("library", [in_pandas, in_polars, in_arrow])
def test_names_with_blanks(library: Callable[[dict[str, Any], Path], Any], tmp_path: Path) -> None:
    """As in text files: the command line could not name them."""
    logs = library({f" {name} ": values for name, values in columns().items()}, tmp_path / "log.parquet")
    expected = rows_of(pa.table(columns()), FORM, tmp_path)
    assert rows_of(logs, FORM, tmp_path) == rows_of(str(tmp_path / "log.parquet"), FORM, tmp_path) == expected


class OldFrame:
    """A library that knows no streams."""


@pytest.mark.parametrize(
    ("logs", "kind", "expected"),
    [
        (OldFrame(), TypeError, "logs: expected paths, or a data frame or table (with __arrow_c_stream__: "),
        (["log.csv", 7], TypeError, "logs: expected paths, or a data frame"),
        (pa.table({"item": ["x"]}), ValueError, "frame: expected one column 'session', got item"),
        (pa.table(columns(item=[0.5, 1.5])), ValueError, "frame: expected integers or strings in 'item', got double"),
        (pandas.DataFrame(columns(item=["x", 7])), TypeError, "frame: expected columns of one type each, got others: "),
        (pa.table(columns(item=ODD)), TypeError, "frame: expected columns of types that Parquet has, got others: "),
    ],
)
def test_what_is_refused(logs: Any, kind: type[Exception], expected: str, tmp_path: Path) -> None:
    with pytest.raises(kind) as caught:
        rows_of(logs, FORM, tmp_path)
    assert str(caught.value).startswith(expected)


def test_paths(tmp_path: Path) -> None:
    pq.write_table(pa.table(columns()), tmp_path / "one.parquet")
    for logs in (tmp_path / "one.parquet", str(tmp_path / "one.parquet"), [tmp_path / "*.parquet"], (str(tmp_path),)):
        with found_logs(logs, FORM, tmp_path) as files:
            assert files.paths == find_files([str(tmp_path / "one.parquet")], FORM).paths
