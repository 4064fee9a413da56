"""Files of every kind, whole and damaged, by DuckDB."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import Dataset, Sessions, Vocabulary
from tagnn_fast.logs import FORMATS, DuckDB, LogFormat, PrepareOptions, find_files, pipeline
from tagnn_fast.logs import content as reader
from tagnn_fast.logs.update import recorded
from tests.logs.reading_cases import CASES, FORM, ROWS, SKIPPABLE, TIMES, assert_reads, text, zstd
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


MANY = text([(f"s{n // 3}", f"{n % 97}", "2024-05-01") for n in range(30_000)]).encode()


def damaged(kind: str) -> list[bytes]:
    """Cut at many places, one bit of it turned, or with something behind its end."""
    compress = gzip.compress if kind == "gzip" else zstd
    whole = compress(MANY)
    begin, end = compress(MANY[:100_000]), compress(MANY[100_000:])
    cuts = [*range(1, 12), *range(12, len(whole), len(whole) // 20), *(len(whole) - n for n in range(1, 12))]
    contents = [whole[:cut] for cut in cuts]
    contents += [begin + end[:cut] for cut in (1, 4, 11, len(end) // 2, len(end) - 1)]
    contents += [whole + b"more", begin + b"\0\0\0\0" + end]
    generator = random.Random(0)
    for _ in range(20):
        turned = bytearray(whole)
        turned[generator.randrange(10, len(whole))] ^= 1 << generator.randrange(8)
        contents.append(bytes(turned))
    return contents if kind == "gzip" else [*contents, whole + SKIPPABLE[:-1], SKIPPABLE[:-1]]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damaged_file(kind: str, tmp_path: Path) -> None:
    """None of it is read; pyarrow's frames have no checksum, so some turned bits leave text of another content."""
    log = tmp_path / "log.csv"
    for number, content in enumerate(damaged(kind)):
        log.write_bytes(content)
        with pytest.raises(ValueError, match=r"log\.csv: expected"):  # noqa: PT012
            files = find_files([str(log)], FORM)
            (tmp_path / str(number)).mkdir()
            files.plain_texts(tmp_path / str(number))
            if kind == "zstd" and content[:4] == zstd(MANY)[:4] and len(content) == len(zstd(MANY)):
                raise ValueError("log.csv: expected a whole zstd file")


def test_cut_log_is_no_data_set(tmp_path: Path) -> None:
    for ending, compress in ((".gz", gzip.compress), (".zst", zstd)):
        log = tmp_path / f"log.csv{ending}"
        content = compress(MANY)
        log.write_bytes(content[: len(content) * 7 // 10])
        with pytest.raises(ValueError, match="expected a whole .* file, got a damaged one: Truncated"):
            prepared(str(log), FORM, EVERYTHING)


def test_hashes_are_of_what_was_read(tmp_path: Path) -> None:
    contents = {"a.csv": text(), "b.csv": text(end="\r\n"), "c.csv.gz": gzip.compress(text().encode())}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    files = prepared(str(tmp_path / "*"), FORM, PrepareOptions(minimum_support=1)).source["files"]
    for path, found in zip(sorted(tmp_path.iterdir()), files, strict=True):
        content = path.read_bytes()
        expected = {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert found == expected


@pytest.mark.parametrize("kind", ["text", "compressed", "parquet", "json"])
@pytest.mark.parametrize("change", ["grows", "replaced", "gone"])
def test_file_that_changes(kind: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what was hashed and the last row that was read, it must be the same."""
    log = tmp_path / "log"
    if kind == "parquet":
        owner, item, time = zip(*ROWS, strict=True)
        pq.write_table(pa.table({"session": owner, "item": item, "time": time}), log)
    elif kind == "json":
        log.write_text('{"session": 1, "item": 2, "time": "2024-05-01"}\n' * 9)
    else:
        log.write_bytes(gzip.compress(text().encode()) if kind == "compressed" else text().encode())
    files = find_files([str(log)], FORM)
    (tmp_path / "work").mkdir()

    def write_to(engine: DuckDB, *_: object) -> None:
        content = log.read_bytes()
        if change == "grows":
            log.write_bytes(content + content)
        elif change == "gone":
            log.unlink()
        else:
            (tmp_path / "new").write_bytes(content)
            os.utime(tmp_path / "new", ns=(0, 1))
            (tmp_path / "new").replace(log)

    name = "_read_text" if kind in ("text", "compressed") else "_read_rows"
    reading = getattr(DuckDB, name)
    monkeypatch.setattr(DuckDB, name, lambda self, *rest: (reading(self, *rest), write_to(self))[0])
    with DuckDB(tmp_path / "work", "UTC") as engine, pytest.raises(ValueError, match="log: expected a file that stays"):
        engine.read(files, FORM.used_columns())


def test_file_that_changed_before(tmp_path: Path) -> None:
    """Its hash was asked for, then it was written to, then it was read."""
    log = tmp_path / "log.csv"
    log.write_bytes(gzip.compress(text().encode()))
    files = find_files([str(log)], FORM)
    files.described  # noqa: B018
    log.write_bytes(gzip.compress(text(ROWS[:9]).encode()))
    with DuckDB(tmp_path, "UTC") as engine, pytest.raises(ValueError, match="expected a file that stays"):
        engine.read(files, FORM.used_columns())


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


def test_damaged_parquet(tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    table = pa.table({"session": range(9999), "item": range(9999), "time": ["2024-05-01"] * 9999})
    pq.write_table(table, log, write_page_checksum=True, compression="none")
    content = log.read_bytes()
    for cut in (len(content) // 2, len(content) - 1, 8):
        log.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"log\.parquet: expected a Parquet file, got"):
            prepared(str(log), FORM, EVERYTHING)
    turned = bytearray(content)
    turned[len(content) // 3] ^= 4
    log.write_bytes(turned)
    with pytest.raises(ValueError, match=r"log\.parquet: expected a whole Parquet file, got a damaged one"):
        prepared(str(log), FORM, EVERYTHING)


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


@pytest.mark.parametrize("encoding", ["", "latin-0", "base64", "rot13", "hex"])
def test_encoding_that_is_none(encoding: str) -> None:
    with pytest.raises(ValueError, match="encoding: expected a name like utf-8 or latin-1, got"):
        LogFormat("log", owner="session", item="item", time="time", encoding=encoding)


def test_lines_across_blocks(tmp_path: Path) -> None:
    r"""Characters, \r\n and lines that lie across the blocks that are read; lines as long as may be and longer."""
    generator = random.Random(1)
    for seed in range(6):
        lines = []
        while sum(map(len, lines)) < 700_000:
            lines.append(f"s,{'é日🛒x'[generator.randrange(4)] * generator.choice((1, 9, 130, 99_990))},2024-05-01")
        lines[3:3] = [f"s,{'y' * (399_987 + extra)},2024-05-01" for extra in (0, 1, 900_000)]  # the first has 400,000
        end = ("\n", "\r\n", "\r")[seed % 3]
        (tmp_path / f"{seed}").mkdir()
        (tmp_path / "log.csv").write_bytes(end.join(["session,item,time", *lines]).encode())
        (text_path,), refused = find_files([str(tmp_path / "log.csv")], FORM).plain_texts(tmp_path / f"{seed}")
        whole = Path(text_path).read_text(encoding="utf-8").rstrip("\n").split("\n")
        assert whole == ["session,item,time", *(line for line in lines if len(line) <= 400_000)]
        assert refused is not None
        assert pq.read_table(refused).to_pydict()["fault"] == ["line too long"] * 2


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


ALPHABET = ["a", "b,", " ", "\n", "\n", "\r\n", "\r", "\0", "é", "🛒", "\ufeff", b"\xff", b"\xc3", "x" * 25]


def lines_by_hand(raw: bytes, encoding: str) -> tuple[list[str], list[str]]:
    """Lines that can be used, and those that cannot."""
    text = raw.decode(encoding, "tagnn_fast.undecoded").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line for line in lines if line.strip(" ")]
    bad = [len(line) > 20 or "\0" in line or "\udcff" in line for line in lines]
    return [line for line, wrong in zip(lines, bad, strict=True) if not wrong], [
        line for line, wrong in zip(lines, bad, strict=True) if wrong
    ]


def test_lines_of_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever falls onto the ends of blocks; and what is read as it is has the same lines."""
    monkeypatch.setattr(reader, "_BLOCK", 7)
    monkeypatch.setattr(reader, "_LONGEST", 20)
    generator = random.Random(2)
    log, plain = tmp_path / "log", 0
    for number in range(1500):
        letters = ALPHABET[: generator.choice((4, 6, len(ALPHABET)))]
        parts = [generator.choice(letters) for _ in range(generator.randrange(25))]
        encoding = ("utf-8", "latin-1", "utf-16-le")[number % 3]
        raw = b"".join(part if isinstance(part, bytes) else part.encode(encoding, "replace") for part in parts)
        log.write_bytes(raw)
        good, bad = lines_by_hand(raw, encoding)
        found, refused = b"", list[tuple[str, str]]()
        records: dict[str, reader.Record] = {}
        for whole, others in reader.lines(str(log), encoding, records):
            found += whole
            refused += others
        read = found.decode().split("\n")[:-1]
        assert [line for line in read if line.strip(" ")] == good
        assert not good or bad or read[0] == good[0]
        assert len(refused) == len(bad)
        assert [reason == "line too long" for reason, _ in refused] == [len(line) > 20 for line in bad]
        assert records[str(log)].described["sha256"] == hashlib.sha256(raw).hexdigest()
        if reader.is_plain(str(log), encoding, {}):
            plain += 1
            assert not bad
            assert raw.removesuffix(b"\n") == found.removesuffix(b"\n")
    assert plain > 50


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
        assert recorded(dataset)[0] == dataclasses.replace(form, paper={})


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
