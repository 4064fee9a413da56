"""Texts as times, against Python's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pytest
from ibis import _

from tagnn_fast.logs import DuckDB, Engine, LogFormat, PrepareOptions
from tagnn_fast.logs.time_formats import TimeFormat
from tagnn_fast.logs.times import read_times, to_local, to_utc
from tests.logs.by_hand import microseconds
from tests.logs.running import prepared

FORM = LogFormat("log", owner="session", item="item", time="time")
ISO = (
    "2019-10-01 13:30:16 UTC", "2019-10-01 13:30:16+0000", "2019-10-01 13:30:16 +00", "2019-10-01T13:30:16Z",
    "2019/10/01 13:30:16", "2019/10/01", "20191001", "20191001 13:30:16", "20191001T13:30", "20191001 01:30 PM",
    " 2019-10-01 13:30:16\t", "2019-10-01   13:30", "2019-10-01 1:30:16 PM", "2019-10-01 01:30:16 am",
    "2019-10-01 12:00 AM", "2019-10-01 12:00:00.5PM", "2019-10-01 13:00 PM", "2019-10-01 0:30 AM", "2019-10-01 1:30",
    "2019-10-01 13:30:16.123456", "2019-10-01 13:30:16.123456789", "2019-10-01 13:30:16,5",
    "2019-10-01 13:30:16.9999999", "2019-10-01 13:30:16Z",
    "2019-10-01 13:30:16.", "2019-10-01 13:30:16.1234567890", "2019-10-01 13:30:16-17:59", "2019-10-01 13:30:16+18",
    "2019-10-01 13:30:16 GMT", "2019-10-01 13:30:16+0530", "2019-10-01 13:30-03:30", "2019-10-01 13:30 pm+02:00",
    "2019-10-01 24:00:00", "2019-10-01 23:59:60", "2019-10-01 13:60", "2019-02-29", "2020-02-29", "2100-02-29",
    "1900-01-01", "1899-12-31", "2199-12-31 23:59:59.999999Z", "2200-01-01", "0000-01-01", "0001-01-01", "9999-12-31",
    "2019-13-01", "2019-00-10", "2019-10-00", "2019-10-1", "2019-1-01", "01/10/2019", "1.10.2019", "2019-10/01",
    "2019-10-01Z", "2019-10-01 ", "", " ", "now", "today", "infinity", "2019", "201910", "1569936616", "-2019-10-01",
    "2019-10-01 13:30:16 CET", "2019-10-01 13:30:16+02:60", "2019-10-01T13:30:16.5+05:45", "2019-10-01 13:30:16 utc",
    "2019-10-01t13:30:16", "٢٠١٩-10-01", "2019-10-01 13:30:16+2", "2019-10-01 13:30:16\u00a0UTC", "2019-10-01T",
)  # fmt: skip
NUMBERS = (
    "0", "1", "-1", "-0.5", "1569936616", "1569936616.123456789", "1569936616.", ".5", "1e9", "1569936616123",
    "1569936616123456", "1569936616123456789", "1569936616123456999", "-1569936616123456999", "9223372036854775807",
    "9223372036854775808", "99999999999999999999", "7258118399", "7258118400", "-2208988800", "-2208988801", "+5",
    "946700400000000999", "999999999999999999",
    " 12 ", "1 2", "1,5", "0x10", "", "-", "١٢", "nan", "999", "-999", "001569936616",
)  # fmt: skip
FORMATS = {
    "%d/%m/%Y %H:%M:%S": ("01/10/2019 13:30:16", "1/9/2019 3:04:05", "31/11/2019 00:00:00", "10/13/2019 1:1:1", "x"),
    "%m/%d/%y %I:%M %p": ("10/01/19 01:30 PM", "10/1/70 12:00 am", "10/1/68 1:00 Pm", "10/01/19 13:30 PM"),
    "%Y%m%d%H%M%S": ("20191001133016", "2019100113301", "20191301000000"),
    "%d %b %Y": ("01 Oct 2019", "1 feb 2020", "30 Feb 2020", "1 October 2019"),
    "%A, %d %B %Y %H:%M": ("Tuesday, 01 October 2019 13:30", "Monday, 1 MAY 2019 00:00", "Tue, 1 May 2019 00:00"),
    "%Y-%j": ("2019-001", "2019-365", "2019-366", "2020-366", "2020-367", "2020-0", "2020-60"),
    "%Y-%m-%dT%H:%M:%S.%f%z": ("2019-10-01T13:30:16.5+0200", "2019-10-01T13:30:16.123456Z", "2019-10-01T13:30:16.1"),
    "[%d.%m.%Y] at 100%% (%H)": ("[01.10.2019] at 100% (13)", "[1.1.2020] AT 100% (0)", "1.1.2020 at 100% (0)"),
    "%H:%M %d-%m-%Y": ("13:30 01-10-2019", " 1:05   1-1-2100 ", "13:30:00 01-10-2019", "13:30 01-10-2200"),
    "%Y-%m-%d": ("1899-12-31", "1900-01-01", "2199-12-31", "2200-01-01", "19-10-01"),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with TemporaryDirectory() as folder, DuckDB(Path(folder), "UTC") as running:
        yield running


def times(engine: Engine, texts: tuple[str, ...], form: LogFormat, zone: str) -> list[int | None]:
    """What the pipeline reads."""
    rows = ibis.memtable({"text": list(texts), "place": range(len(texts))})
    read = engine.keep(read_times(rows, form))
    read = read.select("place", time=ibis.ifelse(_.local, to_utc(read.time, ZoneInfo(zone)), _.time))
    return [row["time"] for row in engine.rows(read.order_by("place"))]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/St_Johns", "Asia/Kathmandu"])
def test_iso(zone: str, engine: Engine) -> None:
    expected = [microseconds(text, ZoneInfo(zone)) for text in ISO]
    assert dict(zip(ISO, times(engine, ISO, FORM, zone), strict=True)) == dict(zip(ISO, expected, strict=True))
    assert sum(time is not None for time in expected) > 25


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_numbers(unit: str, engine: Engine) -> None:
    form = dataclasses.replace(FORM, time_unit=unit)
    expected = [microseconds(text, ZoneInfo("UTC"), form) for text in NUMBERS]
    assert dict(zip(NUMBERS, times(engine, NUMBERS, form, "UTC"), strict=True)) == (
        dict(zip(NUMBERS, expected, strict=True))
    )


@pytest.mark.parametrize("text", FORMATS)
def test_formats(text: str, engine: Engine) -> None:
    form = dataclasses.replace(FORM, time_format=text)
    expected = [microseconds(time, ZoneInfo("Europe/Vienna"), form) for time in FORMATS[text]]
    assert times(engine, FORMATS[text], form, "Europe/Vienna") == expected
    assert expected[0] is not None or text == "%Y-%m-%d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%d/%m/%Y %s", "expected directives out of .*, got '%s' in"),
        ("%c", "got '%c'"),
        ("%d %", "got '%' in"),
        ("%H:%M", "expected a date, such as"),
        ("%Y-%m", "expected a date"),
        ("%Y-%m-%d %j", "expected a date"),
        ("%Y-%m-%d %I:%M", "expected %H, or %I and %p together"),
        ("%Y-%m-%d %F", "expected each part of a time once, got %Y again"),
        ("", "expected a date"),
    ],
)
def test_formats_that_are_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"time_format: .*{expected}"):
        TimeFormat(text)


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/St_Johns", "Australia/Lord_Howe", "Asia/Tokyo"])
def test_zones(zone: str, engine: Engine) -> None:
    """Around every change of the clocks, and anywhere: both ways as Python does it."""
    generator = np.random.default_rng(0)
    seconds = [int(second) for second in generator.integers(-2_200_000_000, 7_200_000_000, 2000)]
    seconds += [
        change + ahead for change in (1_711_846_800, 1_729_990_800, 1_728_142_200) for ahead in range(-7200, 7201, 600)
    ]
    local = [(np.datetime64(0, "s") + second).item().isoformat() for second in seconds]
    expected = [microseconds(text, ZoneInfo(zone)) for text in local]
    assert times(engine, tuple(local), FORM, zone) == expected
    rows = engine.keep(ibis.memtable({"time": [time for time in expected if time is not None]}))
    shown = rows.mutate(shown=to_local(rows.time, ZoneInfo(zone)))
    for row in engine.rows(shown):
        ahead = row["shown"] - row["time"]
        at = (np.datetime64(0, "us") + row["time"]).item().replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone))
        assert ahead == round(at.utcoffset().total_seconds() * 1e6)


@pytest.mark.parametrize(
    ("form", "time", "expected"),
    [
        ({}, "31/12/2019 10:00", "got '31/12/2019 10:00', expected 2024-05-31, .* which of the two is the day is not"),
        ({}, "1569936616123", "a number of milliseconds since 1970: --time-unit milliseconds"),
        ({"time_unit": "seconds"}, "1569936616123", "a number of milliseconds since 1970: --time-unit milliseconds"),
        ({"time_unit": "seconds"}, "2019-10-01", "got '2019-10-01', expected seconds since 1970, from 1900 to 2199"),
        ({"time_format": "%d.%m.%Y"}, "2019-10-01", "got '2019-10-01', expected a time like --time-format '%d.%m.%Y'"),
        ({"time_unit": "milliseconds"}, "1569936616", "at 1970-01-19 .*; by --time-unit seconds it was at 2019-10-01"),
        ({"time_unit": "nanoseconds"}, "1569936616123", "by --time-unit milliseconds it was at 2019-10-01"),
    ],
)
def test_what_is_said_of_times_that_cannot_be_read(
    form: dict[str, str], time: str, expected: str, tmp_path: Path
) -> None:
    log = tmp_path / "log.csv"
    log.write_text(f"session,item,time\ns,1,{time}\ns,2,{time}\n")
    with pytest.raises(ValueError, match=expected):
        prepared(str(log), dataclasses.replace(FORM, **form), PrepareOptions(), bad=0)  # type: ignore[arg-type]
