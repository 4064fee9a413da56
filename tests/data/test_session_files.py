"""Files of sessions in, tables out: Parquet and CSV, whole or not there."""

from __future__ import annotations

import random
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data.session_files import TableWriter, read_session_file

TABLE = pa.table({"session": ["a", "b"], "rank": pa.array([1, 2], pa.int32()), "score": [0.5, -1.0]})


def parquet(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), folder / "sessions.parquet")
    return folder / "sessions.parquet"


def csv(folder: Path, content: str | bytes) -> Path:
    path = folder / "sessions.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path) -> tuple[list[object], list[list[object]]]:
    names, items = read_session_file(path)
    assert isinstance(items, pa.ListArray)
    return names.to_pylist(), items.to_pylist()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parquet(tmp_path: Path) -> None:
    lists = [[5, 2], [], [7]]
    assert read(parquet(tmp_path, items=lists)) == ([0, 1, 2], lists)
    assert read(parquet(tmp_path, items=[["a"], ["b c"]], session=["x", "x"])) == (["x", "x"], [["a"], ["b c"]])
    assert read(parquet(tmp_path, other=[1], session=[2**40], items=[[5]])) == ([2**40], [[5]])
    assert read(parquet(tmp_path, items=pa.array([], pa.list_(pa.int64())))) == ([], [])


def test_types(tmp_path: Path) -> None:
    """Names and items are Arrow arrays, also where a file has a column of names."""
    for path in (parquet(tmp_path, items=[[5]]), parquet(tmp_path, items=[[5]], session=["a"])):
        names, items = read_session_file(path)
        assert isinstance(names, pa.Array)
        assert items.type.value_type == pa.int64()


def test_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups, and windows of longer lists."""
    table = pa.table({"items": [[i] * (i % 4) for i in range(9)], "session": list("abcdefghi")})
    pq.write_table(table, tmp_path / "sessions.parquet", row_group_size=2)
    expected = (table["session"].to_pylist(), table["items"].to_pylist())
    assert read(tmp_path / "sessions.parquet") == expected
    for part in (table.slice(3, 4), table.slice(9), pa.concat_tables([table.slice(5, 2), table.slice(0, 1)])):
        monkeypatch.setattr(pq, "read_table", lambda path, part=part: part)
        assert read(tmp_path / "sessions.parquet") == (part["session"].to_pylist(), part["items"].to_pylist())


@pytest.mark.parametrize(
    ("content", "names", "items"),
    [
        ("items\n5 2\n7\n", [0, 1], [["5", "2"], ["7"]]),
        ("session,items\na,5 2\nb,\n", ["a", "b"], [["5", "2"], []]),
        ('items,session\n"  5   2 ",7\r\n', ["7"], [["5", "2"]]),
        ("session,other,items\n007,x,NA ä\n", ["007"], [["NA", "ä"]]),
        ("items\n", [], []),
        ("items\n007", [0], [["007"]]),
    ],
)
def test_csv(tmp_path: Path, content: str, names: list[object], items: list[list[str]]) -> None:
    assert read(csv(tmp_path, content)) == (names, items)


def test_csv_is_not_guessed(tmp_path: Path) -> None:
    """Ids stay text, also where all of them read as numbers."""
    assert read_session_file(csv(tmp_path, "items\n1\n2\n"))[1].type == pa.list_(pa.string())
    assert read_session_file(csv(tmp_path, "items\n"))[1].type == pa.list_(pa.string())


def test_missing_file(tmp_path: Path) -> None:
    for name in ("sessions.csv", "sessions.parquet"):
        with pytest.raises(FileNotFoundError) as error:
            read_session_file(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: expected a file of sessions"


@pytest.mark.parametrize("name", ["sessions.txt", "sessions", "sessions.csv.gz"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("items\n1\n")
    for call in (read_session_file, TableWriter):
        with pytest.raises(ValueError) as error:
            call(path)
        assert str(error.value) == f"{path}: expected a name that ends in .parquet or .csv"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"session": ["a"]}, "expected a column 'items', got session"),
        ({}, "expected a column 'items', got none"),
        ({"items": [[1], None]}, "expected a list of ids in every row of 'items', got list<element: int64> or nulls"),
        (
            {"items": [[1], [2, None]]},
            "expected a list of ids in every row of 'items', got list<element: int64> or nulls",
        ),
        ({"items": ["1 2"]}, "expected a list of ids in every row of 'items', got string or nulls"),
        ({"items": [5]}, "expected a list of ids in every row of 'items', got int64 or nulls"),
    ],
)
def test_wrong_parquet(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = parquet(tmp_path, **columns)
    with pytest.raises(ValueError) as error:
        read_session_file(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected sessions, got a damaged file: Empty CSV file"),
        ("session\na\n", "expected a column 'items', got session"),
        ("session,items\na,1,2\n", "expected sessions, got a damaged file: "),
        (b"items\n\xff\n", "expected sessions, got a damaged file: "),
        (b"\xff\xfei\x00\n\x00", "expected "),
        ("items,items\n1,2\n", "expected "),
        ("session,session,items\n1,2,3\n", "expected "),
    ],
)
def test_wrong_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = csv(tmp_path, content)
    with pytest.raises(ValueError) as error:
        read_session_file(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_damaged_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path, session=["a", "b"], items=[[1, 2], [3]])
    content = path.read_bytes()
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError) as error:
            read_session_file(path)
        assert str(error.value).startswith(f"{path}: expected sessions, got a damaged file: ")
    generator = random.Random(0)
    messages = []
    for _ in range(100):
        damaged = bytearray(content)
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_session_file(path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 25
    assert all(message.startswith(f"{path}: expected ") for message in messages)


@pytest.mark.parametrize("error", [pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, pa.ArrowKeyError])
def test_whatever_arrow_raises(tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def read_table(path: Path) -> pa.Table:
        raise error("broken")

    path = parquet(tmp_path, items=[[1]])
    monkeypatch.setattr(pq, "read_table", read_table)
    with pytest.raises(ValueError) as caught:
        read_session_file(path)
    assert str(caught.value).startswith(f"{path}: expected sessions, got a damaged file: ")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_out(tmp_path: Path, suffix: str) -> None:
    """Parts are appended under one header, and the file is there once all of them are."""
    path = tmp_path / f"answer.{suffix}"
    path.write_text("the file before")
    with TableWriter(path) as writer:
        writer.write(TABLE)
        writer.write(TABLE.slice(0, 0))
        writer.write(TABLE.slice(1))
        assert path.read_text() == "the file before"
    read = pq.read_table(path) if suffix == "parquet" else pyarrow.csv.read_csv(path)
    assert read.to_pylist() == [*TABLE.to_pylist(), TABLE.to_pylist()[1]]
    assert suffix == "csv" or read.schema == TABLE.schema
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_no_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answer.{suffix}"
    with TableWriter(path) as writer:
        writer.write(TABLE.slice(0, 0))
    read = pq.read_table(path) if suffix == "parquet" else pyarrow.csv.read_csv(path)
    assert (read.num_rows, read.column_names) == (0, TABLE.column_names)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("tables", [0, 1, 3])
def test_failing_block(tmp_path: Path, suffix: str, tables: int) -> None:
    """No file, no temporary one, and an older answer stays."""
    path = tmp_path / f"answer.{suffix}"

    def fail() -> None:
        with TableWriter(path) as writer:
            for _ in range(tables):
                writer.write(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names_in(tmp_path) == []
    path.write_text("the file before")
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names_in(tmp_path) == [path.name]
    assert path.read_text() == "the file before"


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    def write() -> None:
        with TableWriter(tmp_path / "answer.parquet") as writer:
            writer.write(TABLE)
            writer.write(TABLE.select(["session"]))

    with pytest.raises(ValueError):
        write()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_full_disk(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"score": np.random.default_rng(0).random(5_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), TableWriter(tmp_path / f"answer.{suffix}") as writer:
            writer.write(table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_folder_that_is_not_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError), TableWriter(tmp_path / "none" / f"answer.{suffix}") as writer:
        writer.write(TABLE)
