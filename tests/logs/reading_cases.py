"""Files as people have them, and the rows that are in them, for every engine."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.logs import FORMATS, Engine, LogFormat, find_files

FORM = LogFormat("log", owner="session", item="item", time="time")
ROWS = [(f"s{n // 3}", f"{n % 7}", f"2024-05-{1 + n % 9:02}") for n in range(40)]


@dataclass
class Case:
    """What is read and what comes out: fields of good rows in order, and how many rows are bad for which reason."""

    patterns: list[str]
    form: LogFormat
    rows: list[tuple[str | None, ...]]
    faults: dict[str, int] = field(default_factory=dict)


def text(rows: list[tuple[str, ...]] = ROWS, separator: str = ",", end: str = "\n", header: bool = True) -> str:
    lines = [separator.join(row) for row in ([("session", "item", "time")] if header else []) + rows]
    return "".join(line + end for line in lines)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


SKIPPABLE = b"\x52\x2a\x4d\x18\x05\x00\x00\x00hello"  # a zstd frame that holds no content


def members(folder: Path) -> Case:
    """Gzip members and zstd frames one after the other, empty and skippable ones among them; names that lie."""
    rows = [ROWS[number:] + ROWS[:number] for number in range(6)]  # no two files hold the same
    texts = [text(part).encode() for part in rows]
    half = len(texts[0]) // 2
    halves = [(part[:half], part[half:]) for part in texts]
    contents = {
        "1.csv.gz": b"".join(gzip.compress(part) for part in (b"", halves[0][0], b"", halves[0][1], b"")),
        "2.csv.zst": b"".join([zstd(halves[1][0]), SKIPPABLE, zstd(b""), zstd(halves[1][1]), SKIPPABLE]),
        "3.csv.gz": texts[2],
        "4.csv": gzip.compress(texts[3]),
        "5.csv": SKIPPABLE + zstd(texts[4]),
        "6.gz": zstd(texts[5]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Case([str(folder / "*")], FORM, [row for part in rows for row in part])


def line_ends(folder: Path) -> Case:
    """Of every kind in one file, and in several."""
    lines = text().splitlines()
    ends = ["\n", "\r\n", "\r"]
    (folder / "1.csv").write_bytes("".join(line + ends[n // 5 % 3] for n, line in enumerate(lines)).encode())
    (folder / "2.csv").write_bytes(text(end="\r\n").encode())
    (folder / "3.csv").write_bytes(text(end="\r").encode())
    (folder / "4.csv").write_bytes(text().encode())
    (folder / "5.csv").write_bytes(("\ufeff\n \n" + text()).rstrip("\n").encode())
    return Case([str(folder / "*.csv")], FORM, ROWS * 5)


def beginnings(folder: Path) -> Case:
    """Lines at the top that are no rows, and rows that look like comments."""
    form = LogFormat("log", owner="session", item="item", time="time", columns=("session", "item", "time"))
    rows = [("#s", "#1", "2024-05-01"), *ROWS]
    (folder / "1.csv").write_text("a note\nanother, longer\n\n" + text(rows, header=False) + "# the end\n")
    (folder / "2.csv").write_bytes(b"\xef\xbb\xbf" + text(rows, header=False).encode())
    return Case([str(folder)], form, rows * 2, {"wrong number of columns": 3})


def not_utf_8(folder: Path) -> Case:
    """Lines that are not, among others, and the character that stands for such."""
    lines = text([*ROWS, ("s", "caf\ufffd", "2024-05-01")]).encode().split(b"\n")
    lines[5:5] = [b"s,caf\xe9,2024-05-01", b"s,\xff\xfe,2024-05-01", b"s,a\0b,2024-05-01", b"s," + b"x" * 500_000]
    (folder / "log.csv").write_bytes(b"\n".join(lines))
    faults = {"not UTF-8 (see --encoding)": 2, "NUL in the line": 1, "line too long": 1}
    return Case([str(folder / "log.csv")], FORM, [*ROWS, ("s", "caf\ufffd", "2024-05-01")], faults)


def encodings(name: str, item: str, mark: bytes = b"") -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        rows = [(owner, item + number, time) for owner, number, time in ROWS]
        for ending, packed, some in ((".csv", bytes, rows[:20]), (".csv.gz", gzip.compress, rows[20:])):
            (folder / f"log{ending}").write_bytes(packed(mark + text(some, end="\r\n").encode(name)))
        form = LogFormat("log", owner="session", item="item", time="time", encoding=name)
        return Case([str(folder / "*")], form, rows)

    return write


def separators(separator: str) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        rows = [*ROWS, ("s", f"{separator[0]}a, b", "2024-05-01")] if len(separator) > 1 else [*ROWS]
        quoted = separator.join(("s", f'"a{separator}b"', "2024-05-01")) + "\n"
        (folder / "log.dat").write_text(text(rows, separator) + quoted)
        rows.append(("s", f"a{separator}b", "2024-05-01"))
        form = LogFormat("log", owner="session", item="item", time="time", separator=separator)
        return Case([str(folder / "log.dat")], form, rows)

    return write


def blank_lines(folder: Path) -> Case:
    """Of blanks and tabs, also where tabs are between the columns: none is a row."""
    blank = ["", "  ", "\t\t", " \t \t", "\t"]
    lines = text(separator="\t").splitlines()
    lines[5:5], lines[20:20] = blank, blank
    (folder / "log.tsv").write_text("\n".join([*lines, *blank, "\t\t2024-05-01", ""]))
    form = LogFormat("log", owner="session", item="item", time="time", separator="\t")
    return Case([str(folder / "log.tsv")], form, [*ROWS, (None, None, "2024-05-01")])


def movielens(folder: Path) -> Case:
    (folder / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n2::1357::5::978298709\n")
    form = LogFormat(
        "movielens",
        owner="user",
        owner_is_user=True,
        item="movie",
        time="time",
        time_unit="seconds",
        separator="::",
        columns=("user", "movie", "rating", "time"),
    )
    rows = [("1", "1193", "978300760"), ("1", "661", "978302109"), ("2", "1357", "978298709")]
    return Case([str(folder / "ratings.dat")], form, rows)


def parts(folder: Path) -> Case:
    """A folder as Spark and Hive write it: parts in folders whose names say otherwise, and files that are no parts."""
    for number, day in enumerate(("item=99", "time=2030-01-01")):
        (folder / "log" / day).mkdir(parents=True)
        (folder / "log" / day / f"part-0000{number}.csv").write_text(text(ROWS[number * 20 : number * 20 + 20]))
        (folder / "log" / day / f".part-0000{number}.csv.crc").write_bytes(b"crc")
    (folder / "log" / "_SUCCESS").touch()
    (folder / "log" / "empty.csv").touch()
    (folder / "log" / "empty.csv.gz").write_bytes(gzip.compress(b""))
    (folder / "log" / "_temporary").mkdir()
    (folder / "log" / "_temporary" / "part-00000.csv").write_text(text())
    return Case([str(folder / "log")], FORM, ROWS)


def parquet_parts(folder: Path) -> Case:
    """The same in Parquet, with columns in any order, of any integer type."""
    for number, day in enumerate(("item=99", "time=2030-01-01")):
        (folder / "log" / day).mkdir(parents=True)
        owner, item, time = zip(*ROWS[number * 20 : number * 20 + 20], strict=True)
        kind = pa.int64() if number else pa.string()
        table = pa.table({"time": time, "item": pa.array(item).cast(kind), "session": owner, "ITEM": item[::-1]})
        table = table.select(table.column_names[:: number * 2 - 1])
        pq.write_table(table, folder / "log" / day / "part-0.snappy", row_group_size=7)
    (folder / "log" / "_SUCCESS").touch()
    (folder / "log" / "empty").touch()
    return Case([str(folder / "log")], FORM, ROWS)


def baskets(folder: Path) -> Case:
    """Rows whose items are lists, with times in lists or not."""
    table = {
        "session": pa.array([1, 2, 3, 4, 5, 6], pa.int32()),
        "item": pa.array([[7, 8], [], None, [9], [1, None], [5, 6]], pa.list_(pa.int64())),
        "time": pa.array([f"2024-05-0{n}" for n in range(1, 7)]),
    }
    pq.write_table(pa.table(table), folder / "1.parquet")
    table["time"] = pa.array([["a", "b"], ["c"], None, ["d"], ["e", "f"], ["g"]])
    table["item"] = table["item"].cast(pa.large_list(pa.int64()))
    pq.write_table(pa.table(table), folder / "2.parquet")
    views = {"session": ["v", "w"], "item": pa.array([[3, None], []], pa.list_view(pa.int64())), "time": ["x", "y"]}
    pq.write_table(pa.table(views), folder / "3.parquet")
    rows: list[tuple[str | None, ...]] = [
        *(("1", "7", "2024-05-01"), ("1", "8", "2024-05-01"), ("2", None, "2024-05-02"), ("3", None, "2024-05-03")),
        *(("4", "9", "2024-05-04"), ("5", "1", "2024-05-05"), ("5", None, "2024-05-05")),
        *(("6", "5", "2024-05-06"), ("6", "6", "2024-05-06")),
        *(("1", "7", "a"), ("1", "8", "b"), ("3", None, None), ("4", "9", "d"), ("5", "1", "e"), ("5", None, "f")),
        *(("v", "3", "x"), ("v", None, "x"), ("w", None, "y")),
    ]
    return Case([str(folder)], FORM, rows, {"lists of different lengths": 2})


# A time as each type has it, and the text it is.
INSTANT = datetime(2024, 3, 31, 0, 30, 0, 250_000, UTC)
TIMES: dict[str, tuple[pa.Array, str, str]] = {
    "s": (pa.array([1711845000], pa.timestamp("s")), "iso", "2024-03-31 00:30:00.000"),
    "ms": (pa.array([INSTANT], pa.timestamp("ms", "Europe/Vienna")), "iso", "2024-03-31 00:30:00.250Z"),
    "us": (pa.array([INSTANT], pa.timestamp("us", "UTC")), "iso", "2024-03-31 00:30:00.250000Z"),
    "ns": (pa.array([1711845000250000001], pa.timestamp("ns", "+02:00")), "iso", "2024-03-31 00:30:00.250000001Z"),
    "naive": (pa.array([INSTANT.replace(tzinfo=None)], pa.timestamp("us")), "iso", "2024-03-31 00:30:00.250000"),
    "date": (pa.array([date(1969, 12, 31)]), "iso", "1969-12-31"),
    "double": (pa.array([1711845000.25]), "seconds", "1711845000.250000"),
    "whole": (pa.array([1711845000.0], pa.float64()), "seconds", "1711845000"),
    "infinite": (pa.array([float("inf")]), "seconds", "inf"),
    "decimal": (pa.array([Decimal("1711845000.250")], pa.decimal128(20, 3)), "seconds", "1711845000.250"),
    "unsigned": (pa.array([1711845000250], pa.uint64()), "milliseconds", "1711845000250"),
}
IDS: dict[str, tuple[pa.Array, str | None]] = {
    "integer": (pa.array([-5], pa.int8()), "-5"),
    "large": (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
    "decimal": (pa.array([Decimal(10**20)], pa.decimal128(38, 0)), str(10**20)),
    "dictionary": (pa.array(["007"]).dictionary_encode(), "007"),
    "large string": (pa.array(["Sigur Rós"], pa.large_string()), "Sigur Rós"),
    "null": (pa.nulls(1), None),
    "uuid": (
        pa.array([UUID(int=2**100 + 7).bytes], pa.uuid()),
        "00000010-0000-0000-0000-000000000007",
    ),
}


def types(folder: Path) -> Case:
    """Ids of each type that may be one; only one file of each kind of time fits into a log."""
    rows = []
    for number, (ids, value) in enumerate(IDS.values()):
        columns = {"session": ids, "item": ids, "time": pa.array(["2024-05-01"])}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")
        rows.append((value, value, "2024-05-01"))
    number = len(rows)
    for time, unit, value in TIMES.values():
        if unit == "iso":
            pq.write_table(pa.table({"session": ["a"], "item": [1], "time": time}), folder / f"{number:02}.parquet")
            rows.append(("a", "1", value))
            number += 1
    old = pa.table({"session": ["a"], "item": [1], "time": pa.array([INSTANT.replace(tzinfo=None)])})
    pq.write_table(old, folder / f"{number:02}.parquet", use_deprecated_int96_timestamps=True)
    rows.append(("a", "1", "2024-03-31 00:30:00.250000Z"))
    paths = sorted(folder.iterdir())
    order = sorted(range(len(rows)), key=lambda place: f"{place}" if place < len(IDS) else f"{place:02}")
    assert [path.stem for path in paths] == [f"{n}" if n < len(IDS) else f"{n:02}" for n in order]
    return Case([str(folder)], FORM, [rows[place] for place in order])


def json_lines(folder: Path) -> Case:
    """An object a row, nested or not; and whatever else is in such files."""
    form = LogFormat("json", owner="user.id", item="item", time="at", event="kind", events=("true", "view"))
    lines = [
        '{"user": {"id": 1}, "item": "a", "at": 1714521600.5, "kind": true, "more": [1, {}]}',
        '{"at": "2024-05-01", "user.id": "x", "user": {"id": 2}, "item": 12345678901234567890, "kind": "view"}',
        '{"user": {"id": 3}, "item": ["b", 7], "at": 5, "kind": "view"}',
        '{"user": {"id": 3}, "item": [], "at": 5, "kind": "view"}',
        '{"user": {"id": null}, "kind": null}',
        "",
        '{"user": {"id": 1}, "item": 1.0, "at": 5}',
        '{"user": {"id": 1}, "item": true, "at": 5}',
        '{"user": {"id": 1}, "item": {"a": 1}, "at": 5}',
        '{"user": {"id": 1}, "item": [[1]], "at": 5}',
        '{"user": {"id": 1}, "item": [1, 2], "at": [1, 2, 3]}',
        '{"user": {"id": 1}, "item": "\\ud800", "at": 5}',
        '{"user": {"id": 1}, "item": NaN, "at": 5}',
        '{"user": {"id": 1}, "item": 007, "at": 5}',
        "[1, 2]",
        '{"user": {"id": 1}, "item": "a", "at": 5',
        "[" * 100_000,
        '{"user": {"id": 4}, "item": "é", "at": 5, "kind": "view"}',
    ]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "more.json.gz").write_bytes(gzip.compress(b'{"user": {"id": 5}, "item": "\xe9", "at": 5}\n'))
    rows = [
        ("1", "a", "1714521600.5", "true"),
        ("x", "12345678901234567890", "2024-05-01", "view"),
        ("3", "b", "5", "view"),
        ("3", "7", "5", "view"),
        ("3", None, "5", "view"),
        (None, None, None, None),
        ("4", "é", "5", "view"),
    ]
    faults = {
        "item is neither text nor a number, or no integer where it is an id": 4,
        "lists of different lengths": 1,
        "half a character": 1,
        "no JSON object": 5,
        "not UTF-8 (see --encoding)": 1,
    }
    return Case([str(folder)], form, rows, faults)


def otto(folder: Path) -> Case:
    events = [
        {"aid": 59625, "ts": 1661724000278, "type": "clicks"},
        {"aid": 1142000, "ts": 1661724000378, "type": "carts"},
        {"aid": 582732, "ts": 1661724000558, "type": "clicks"},
    ]
    path = folder / "otto-recsys-test"
    path.write_text("".join(json.dumps({"session": n, "events": events[n:]}) + "\n" for n in range(2)))
    rows = [(str(n), str(event["aid"]), str(event["ts"]), str(event["type"])) for n in range(2) for event in events[n:]]
    return Case([str(path)], FORMATS["otto"], rows)


def thirty_music(folder: Path) -> Case:
    track = {"type": "track", "playstart": 0, "playtime": 20, "playratio": 0.08, "action": "skip"}
    lines = []
    for session, tracks in ((287144, [4698874, 838286]), (287145, [4698874])):
        first = {"numtracks": len(tracks), "playtime": 4547}
        second = {"subjects": [{"type": "user", "id": 44361}], "objects": [{**track, "id": name} for name in tracks]}
        parts = ("event.session", str(session), "1390231051", f"{json.dumps(first)} {json.dumps(second)}")
        lines.append("\t".join(parts))
    (folder / "sessions.idomaar").write_text("\n".join([*lines, "event.session\t1\t2", ""]))
    rows = [
        ("287144", "4698874", "1390231051"),
        ("287144", "838286", "1390231051"),
        ("287145", "4698874", "1390231051"),
    ]
    return Case([str(folder / "*")], FORMATS["30music"], rows, {"no JSON object": 1})


def diginetica(folder: Path) -> Case:
    (folder / "train-item-views.csv").write_text(
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n"
    )
    rows = [("1", "81766", "2016-05-09", "526309"), ("1", "31331", "2016-05-09", "1031018")]
    return Case([str(folder)], FORMATS["diginetica"], rows)


def numbers_of_columns(quote: str) -> Callable[[Path], Case]:
    """One too few, one too many, which may be empty, at the beginning, in the middle and at the end."""

    def write(folder: Path) -> Case:
        lines = ["s,1", "s,1,2024-05-01,", "s,1,,", "s,1,2024-05-01,x", ",,,", "s"]
        lines += ['s,1,2024-05-01,""', 's,1,"",""'] if quote else []
        good = [",".join(row) for row in ROWS]
        columns = ("session", "item", "time")
        form = LogFormat("log", owner="session", item="item", time="time", quote=quote, columns=columns)
        (folder / "log").write_text("\n".join([*lines, *good[:20], *lines, *good[20:], *lines]) + "\n,,\n,1,\n")
        rows = [*ROWS, (None, None, None), (None, "1", None)]
        return Case([str(folder)], form, rows, {"wrong number of columns": 3 * len(lines)})

    return write


CASES: dict[str, Callable[[Path], Case]] = {
    "gzip members and zstd frames": members,
    "line ends": line_ends,
    "beginnings": beginnings,
    "not UTF-8": not_utf_8,
    "Latin-1": encodings("latin-1", "café "),
    "Windows": encodings("cp1252", "€ "),
    "UTF-16": encodings("utf-16", "日本 "),
    "UTF-16 with a mark": encodings("utf-16-le", "ключ ", b"\xff\xfe"),
    "two characters between": separators("::"),
    "two bytes between": separators("§"),
    "numbers of columns": numbers_of_columns('"'),
    "numbers of columns without quotes": numbers_of_columns(""),
    "blank lines": blank_lines,
    "MovieLens": movielens,
    "parts": parts,
    "Parquet parts": parquet_parts,
    "baskets": baskets,
    "types": types,
    "JSON lines": json_lines,
    "OTTO": otto,
    "30Music": thirty_music,
    "Diginetica": diginetica,
}


def assert_reads(case: Case, engine: Engine) -> None:
    """Each row as it is, in order, and each bad one counted with its line."""
    table = engine.read(find_files(case.patterns, case.form), case.form.used_columns())
    found = sorted(engine.rows(table), key=lambda row: int(row["row"]))
    fields = [f"field_{number}" for number in range(len(case.form.used_columns()))]
    good = [tuple(row[name] or None for name in fields) for row in found if row["fault"] is None]
    assert good == case.rows
    bad: list[dict[str, Any]] = [row for row in found if row["fault"] is not None]
    assert Counter(row["fault"] for row in bad) == case.faults
    assert len({row["row"] for row in found}) == len(found)
