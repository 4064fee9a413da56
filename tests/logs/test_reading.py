"""Files of every kind, by DuckDB: which are read, what their rows and types mean, and what is no log."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import Dataset, Sessions, Vocabulary
from tagnn_fast.logs import FORMATS, DuckDB, LogFormat, PrepareOptions, find_files, pipeline
from tagnn_fast.logs.update import recorded
from tests.logs.reading_cases import CASES, FORM, TIMES, assert_reads, text
from tests.logs.running import prepared

EVERYTHING = PrepareOptions(minimum_length=1, minimum_support=1)


@pytest.mark.parametrize("name", CASES)
def test_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    case = CASES[name](tmp_path / "log")
    with DuckDB(tmp_path, "UTC") as engine:
        assert_reads(case, engine)
    assert not list(tmp_path.rglob("*.txt"))  # what it had to turn into plain text


@pytest.mark.parametrize("name", [name for name, (_, unit, _) in TIMES.items() if unit != "iso"])
def test_numbers_as_times(name: str, tmp_path: Path) -> None:
    time, unit, value = TIMES[name]
    pq.write_table(pa.table({"session": ["a"], "item": [1], "time": time}), tmp_path / "log.parquet")
    form = LogFormat("log", owner="session", item="item", time="time", time_unit=unit)
    with DuckDB(tmp_path, "UTC") as engine:
        (row,) = engine.rows(engine.read(find_files([str(tmp_path / "log.parquet")], form), form.used_columns()))
    assert row["field_2"] == value


TYPES = {
    "item": [
        (pa.array([b"a"]), "binary"),
        (pa.array([True]), "bool"),
        (pa.array([1.0]), "double"),
        (pa.array([[[1]]]), "list"),
        (pa.array([[1.5]]), "list"),
        (pa.array([{"id": 1}]), "struct"),
        (pa.array([[{"id": 1}]]), "list<.*struct"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map"),
        (pa.array(["1.50"]).cast(pa.decimal128(9, 2)), "decimal"),
        (pa.array([5], pa.timestamp("us")), "timestamp"),
        (pa.array([5], pa.date32()), "date32"),
    ],
    "session": [(pa.array([[1]]), "list"), (pa.array([1.5]), "double"), (pa.array([5], pa.timestamp("ms")), "timest")],
    "time": [
        (pa.array([5], pa.time64("us")), "time64"),
        (pa.array([True]), "bool"),
        (pa.array([["2024-05-01"]]), "list"),
        (pa.array([b"2024"]), "binary"),
        (pa.array([1.7e9], pa.float32()), "float"),
        (pa.array([1.0], pa.float16()), "halffloat"),
    ],
}


@pytest.mark.parametrize(
    ("name", "place"), [(name, place) for name, kinds in TYPES.items() for place in range(len(kinds))]
)
def test_type_that_is_refused(name: str, place: int, tmp_path: Path) -> None:
    """By the names of file, column and type; it never becomes text."""
    column, kind = TYPES[name][place]
    table = {"session": pa.array([1]), "item": pa.array([1]), "time": pa.array(["2024-05-01"]), name: column}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=rf"log\.parquet: expected .* '{name}', got {kind}"):
        prepared(str(tmp_path / "log.parquet"), FORM, EVERYTHING)


def test_unit_of_a_time_that_has_one(tmp_path: Path) -> None:
    table = {"session": [1], "item": [1], "time": pa.array([5], pa.timestamp("us"))}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    expected = {
        "time_unit": ("seconds", r"numbers in 'time', as --time-unit seconds says, got timestamp\[us\]"),
        "time_format": ("%Y-%m-%d", r"text in 'time', as --time-format says, got timestamp\[us\]"),
    }
    for option, (value, message) in expected.items():
        form = dataclasses.replace(FORM, **{option: value})
        with pytest.raises(ValueError, match=f"expected {message}"):
            prepared(str(tmp_path / "log.parquet"), form, EVERYTHING)


def test_times_of_every_type(tmp_path: Path) -> None:
    """Instants from every type that has a zone, even in the hour that a clock shows twice; else a clock's time."""
    time = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    kinds = [pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in ("Europe/Vienna", "-03:00", None)]
    for number, kind in enumerate(kinds):
        value = pa.array([time if kind.tz else time.replace(tzinfo=None)], kind)
        pq.write_table(pa.table({"session": ["a"], "item": [1], "time": value}), tmp_path / f"{number}.parquet")
    with DuckDB(tmp_path, "UTC") as engine:
        rows = engine.read(find_files([str(tmp_path / "*.parquet")], FORM), FORM.used_columns())
        found = sorted(engine.rows(pipeline.parse(rows, FORM)), key=lambda row: int(row["row"]))
    expected = [(round(time.timestamp() * 10**6), kind.tz is None) for kind in kinds]
    assert [(row["time"], row["local"]) for row in found] == expected


def test_times_of_96_bits(tmp_path: Path) -> None:
    """Instants, in lists too; a column of that name elsewhere, such as in a structure, is none of the log's."""
    time = datetime(2024, 10, 27, 0, 30)
    alone = {"session": ["a"], "more": [{"deep": [{"time": time}], "kind": "x"}], "item": [1], "time": [time]}
    within = {"session": ["a"], "item": [[1, 2]], "time": [[time, time]], "more": [{"item": time}]}
    text = {"session": ["a"], "item": [3], "time": ["2024-10-27 00:30:00"], "more": [{"time": time}]}
    for number, table in enumerate((alone, within, text)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table(table), path, use_deprecated_int96_timestamps=True)
    with DuckDB(tmp_path, "UTC") as engine:
        rows = engine.read(find_files([str(tmp_path / "*.parquet")], FORM), FORM.used_columns())
        found = sorted(engine.rows(pipeline.parse(rows, FORM)), key=lambda row: int(row["row"]))
    expected = round(time.replace(tzinfo=UTC).timestamp() * 10**6)
    assert [(row["time"], row["local"]) for row in found] == [(expected, False)] * 3 + [(expected, True)]


def test_lists_of_dictionaries_in_several_row_groups(tmp_path: Path) -> None:
    items = pa.ListArray.from_arrays([0, 2, 2, 3], pa.array(["x", "y", "x"]).dictionary_encode())
    table = pa.table({"session": ["a", "b", "c"], "item": items, "time": ["2024-05-01", "2024-05-02", "2024-05-03"]})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=1)
    with DuckDB(tmp_path, "UTC") as engine:
        rows = engine.read(find_files([str(tmp_path / "log.parquet")], FORM), FORM.used_columns())
        found = sorted(engine.rows(rows), key=lambda row: int(row["row"]))
    assert [row["field_1"] for row in found] == ["x", "y", None, "x"]


def test_what_is_no_log(tmp_path: Path) -> None:
    """Other compressions, other encodings, other kinds, nothing at all: each by its name."""
    form = LogFormat("log", owner="session", item="item", time="time")
    contents = {
        b"PK\x03\x04 and so on": "expected text, plain or compressed by gzip or zstd, got zip",
        b"BZh91AY&SY": "got bzip2",
        text().encode("utf-16"): "expected text in UTF-8, .*; see --encoding, utf-16 for one",
        b"s\xe9ssion,item,time\n": "expected text in UTF-8, .*; see --encoding$",
        b"": "expected clicks, got an empty file",
        gzip.compress(b""): "expected clicks, got an empty file",
        b"\n \n": "expected clicks, got an empty file",
        b"a,b\n1,2\n": "expected one column 'session', got a, b",
    }
    log = tmp_path / "log"
    for content, expected in contents.items():
        log.write_bytes(content)
        with pytest.raises(ValueError, match=expected):
            find_files([str(log)], form)
    log.write_text(text())
    (tmp_path / "other.json").write_text("{}\n")
    with pytest.raises(ValueError, match="expected files of one kind, text as .*, got json"):
        find_files([str(tmp_path)], form)
    (tmp_path / "other.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"other\.json: expected clicks, got an empty file"):
        find_files([str(tmp_path / "*")], form)
    assert len(find_files([str(tmp_path)], form).described) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected a file, a folder or a pattern that files match, got none"):
        find_files([str(tmp_path / "empty")], form)


def test_utf_16_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes("session,item,time\n".encode("utf-16-le"))
    form = LogFormat("log", owner="session", item="item", time="time", encoding="utf-16")
    with pytest.raises(ValueError, match=r"log.csv: expected text in UTF-16 \(see --encoding\), got other: "):
        find_files([str(tmp_path / "log.csv")], form)


@pytest.mark.parametrize("encoding", ["", "latin-0", "base64", "rot13", "hex", "idna", "punycode"])
def test_encoding_that_is_none(encoding: str) -> None:
    with pytest.raises(ValueError, match="encoding: expected a name like utf-8 or latin-1, got"):
        LogFormat("log", owner="session", item="item", time="time", encoding=encoding)


def test_which_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of folders and of folders in them, whatever links there are; no markers, unless they are asked for."""
    names = ("a.csv", "_b.csv", ".c.csv", "d/e.csv", "_f/g.csv", "d/_h.csv", "i.csv/part-0", "_SUCCESS")
    for name in names:
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs" / name).write_text(text())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "j.csv").write_text(text())
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    visible = ["elsewhere/j.csv", "logs/a.csv", "logs/d/e.csv", "logs/i.csv/part-0"]
    expected = {
        "logs": visible,
        "logs/": visible,
        "logs/*": visible,
        "logs/**": visible,
        "logs/**/*.csv": visible,
        "logs/*.csv": ["logs/a.csv", "logs/i.csv/part-0"],
        "logs/_*.csv": ["logs/_b.csv"],
        "logs/_b.csv": ["logs/_b.csv"],
        "logs/_f/*": ["logs/_f/g.csv"],
        "logs/.c.csv": ["logs/.c.csv"],
    }
    for pattern, files in expected.items():
        assert find_files([pattern], FORM).paths == [str(tmp_path / name) for name in files], pattern
    for pattern in ("", "logs/no*", "logs/*/_h*/*", "no"):
        with pytest.raises(
            FileNotFoundError, match="expected a file, a folder or a pattern that files match, got none"
        ):
            find_files([pattern], FORM)
    (tmp_path / "logs" / "loop").symlink_to(tmp_path / "logs")
    assert find_files(["logs"], FORM).paths == [str(tmp_path / name) for name in visible]


@pytest.mark.parametrize("mark", ["_delta_log", ".hoodie"])
def test_tables_that_are_more_than_their_parts(mark: str, tmp_path: Path) -> None:
    """Rows that were deleted are still in some part."""
    (tmp_path / "table" / mark).mkdir(parents=True)
    (tmp_path / "table" / "part-0.csv").write_text(text())
    with pytest.raises(ValueError, match=rf"table: expected a folder of parts, got a table with a {mark}"):
        find_files([str(tmp_path)], FORM)


def test_encoding_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"session": [1], "item": [1], "time": ["2024-05-01"]}), tmp_path / "log")
    form = LogFormat("log", owner="session", item="item", time="time", encoding="latin-1")
    with pytest.raises(ValueError, match=r"log: expected text, which may have an encoding \(--encoding\), got Parquet"):
        find_files([str(tmp_path / "log")], form)


def test_formats_are_recorded_whole() -> None:
    """So that an update reads new logs as the old ones were read."""
    strange = LogFormat("odd", owner="a", item="b", time="c", encoding="Latin1", separator="::", aliases={"d": "a"})
    for form in (*FORMATS.values(), strange):
        described = {name: value for name, value in dataclasses.asdict(form).items() if name != "published"}
        source = {"kind": "logs", "format": json.loads(json.dumps(described)), "options": PrepareOptions().as_json()}
        nothing = Sessions.from_lists([])
        dataset = Dataset("d", nothing, nothing, Vocabulary(pa.array([1]), np.zeros(1)), source, pa.array([[1]]))
        assert recorded(dataset)[0] == dataclasses.replace(form, published={})


VALUES = [
    "a",
    "007",
    " x",
    "y ",
    "é",
    "日本",
    "#c",
    "//",
    "\\",
    "\\N",
    "NULL",
    "''",
    "a'b",
    "",
    "\t",
    "nan",
    "\x0b",
    "\x1f",
]


def test_rows_of_any_text(tmp_path: Path) -> None:
    """Well-formed lines, quoted or not, of the right number of columns or another, against plain Python."""
    for seed in range(20):
        generator = random.Random(seed)
        separator, quote = generator.choice([",", ";", "\t", "::", "§"]), generator.choice(['"', "'", ""])
        values = [value for value in VALUES if separator not in value and (not quote or quote not in value)]
        lines, good, bad = list[str](), list[tuple[str | None, ...]](), 0
        for _ in range(generator.randrange(1, 60)):
            count = generator.choice((3, 3, 3, 3, 3, 3, 1, 2, 4))
            row = generator.choices(values, k=count)
            written = []
            for place, value in enumerate(row):
                quoted = bool(quote) and generator.random() < 0.2
                row[place] = value + generator.choice(("", separator, quote)) if quoted else value
                written.append(quote + row[place].replace(quote, quote * 2) + quote if quoted else value)
            lines.append(separator.join(written))
            good += [tuple(value or None for value in row)] if count == 3 else []
            bad += count != 3 and bool(lines[-1].strip(" \t"))
        header = (("session", "item", "time"), ())[seed % 2]
        end = generator.choice(("\n", "\r\n", "\r"))
        log = tmp_path / f"{seed}"
        log.mkdir()
        (log / "log").write_bytes(end.join([*([separator.join(header)] if header else []), *lines, ""]).encode())
        columns = () if header else ("session", "item", "time")
        form = dataclasses.replace(FORM, separator=separator, quote=quote, columns=columns)
        with DuckDB(log, "UTC") as engine:
            if not "".join([*lines, *header]).strip(" "):
                continue
            table = engine.read(find_files([str(log / "log")], form), form.used_columns())
            found = sorted(engine.rows(table), key=lambda row: int(row["row"]))
        read = [tuple(row[f"field_{place}"] or None for place in range(3)) for row in found if row["fault"] is None]
        assert read == good, seed
        assert len(found) - len(read) == bad, seed
