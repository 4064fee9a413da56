"""Files of sessions in: every row is a session or has its error, in its place and by its name."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import session_files
from tagnn_fast.data.session_files import read_sessions
from tests.mutated import refusals, wrong_bytes

NO_ID = "expected item ids that are strings or integers, got"
QUOTES = "expected quotes around whole cells, doubled inside them, on one line"
Rows = list[tuple[object, object]]  # a name, and ids or what is wrong


def read(path: Path, rows: int = 512) -> Rows:
    parts = list(read_sessions(path, rows))
    assert len({part.names.type for part in parts}) == 1
    found: Rows = []
    for part in parts:
        for name, items, error, place in zip(part.names.to_pylist(), *part[1:4], strict=True):
            assert place.split()[1].isdigit()
            assert error is None or items == []
            found.append((name, items if error is None else f"{place}: {error}"))
    return found


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), folder / "sessions.parquet")
    return folder / "sessions.parquet"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("items\n5 2\n7\n", [(0, ["5", "2"]), (1, ["7"])]),
        ("items\n5 2\n\n7\n", [(0, ["5", "2"]), (1, []), (2, ["7"])]),
        ("session,items\na,5 2\nb,\n", [("a", ["5", "2"]), ("b", [])]),
        ("session,items\na,1\n\na,2\n,3\n   \n", [("a", ["1"]), ("1", []), ("a", ["2"]), ("", ["3"]), ("4", [])]),
        ('items,session\n"  5\t  2 ",7\r\n', [("7", ["5", "2"])]),
        ("session,other,items\n007,x,NA ä\n", [("007", ["NA", "ä"])]),
        ("items\n", []),
        ("items", []),
        ("\n\nitems\n007", [(0, ["007"])]),
        ("items\r1 2\r\r3", [(0, ["1", "2"]), (1, []), (2, ["3"])]),
        ("\ufeffsession,items\r\na,1\r\n", [("a", ["1"])]),
        ("items\nSigur\u00a0Rós\n", [(0, ["Sigur\u00a0Rós"])]),
        ('session,items\n"a ""b"", c","[""Sigur Rós"", 7]"\n', [('a "b", c', ["Sigur Rós", 7])]),
        ('items\n"[]"\n" [1]"\n"[""[x]""]"\n', [(0, []), (1, [1]), (2, ["[x]"])]),
        ('items\n[1]\n["a"]\n', [(0, [1]), (1, f"line 3: {QUOTES}")]),
        ('items\n[x]\n', [(0, "line 2: expected JSON, got [x] (Expecting value at character 2)")]),
        ('items\n"[1, 2.0]"\n', [(0, f"line 2: {NO_ID} 2.0")]),
        ("session,items\na,1,2\nb,1\nc\n", [
            ("a", "line 2: expected 2 columns, got 3"), ("b", ["1"]), ("c", "line 4: expected 2 columns, got 1"),
        ]),
        ("items,session\n1,2,a\n3,b\n", [("0", "line 2: expected 2 columns, got 3"), ("b", ["3"])]),
        ('session,items\na,"1 2\nb,3\nc,4"\nd,5"\n', [
            ("0", f"line 2: {QUOTES}"),
            ("b", ["3"]),
            ("2", f"line 4: {QUOTES}"),
            ("3", f"line 5: {QUOTES}"),
        ]),
        (b"session,items\na,Bj\xf6rk\nb\xff,1\nc,2\n", [
            ("a", "line 2: expected UTF-8, got the byte 0xf6"),
            ("1", "line 3: expected UTF-8, got the byte 0xff"),
            ("c", ["2"]),
        ]),
        (b"items\n\xed\xa0\x80\n1\x002\n", [(0, "line 2: expected UTF-8, got the byte 0xed"), (1, ["1\x002"])]),
        ("items\n" + "1 " * 200_000 + '\n"' + "1 " * 200_000 + '"\n', [(0, ["1"] * 200_000), (1, ["1"] * 200_000)]),
    ],
)  # fmt: skip
def test_csv(tmp_path: Path, content: str | bytes, expected: Rows) -> None:
    path = written(tmp_path, "sessions.csv", content)
    for rows in (512, 1):
        assert read(path, rows) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"session": "a", "items": ["Sigur Rós", 7]}\n{"items": [], "session": "b"}',
         [("a", ["Sigur Rós", 7]), ("b", [])]),
        ('[1, 2]\n\n["x"]\n', [(0, [1, 2]), (1, []), (2, ["x"])]),
        ('\ufeff{"session": 5, "items": [1]}\r\n \r\n{"session": 5, "items": [2], "more": {}}\r\n',
         [(5, [1]), (1, []), (5, [2])]),
        ('[1]\n{"session": "a", "items": [1]}\n{"session": null, "items": [2]}\n',
         [("0", [1]), ("a", [1]), ("2", [2])]),
        (f'{{"session": {2**63}, "items": [{2**70}]}}\n', [(str(2**63), [2**70])]),
        ("", []),
        ('[1\n[2]\n', [(0, "line 1: expected JSON, got [1 (Expecting ',' delimiter at character 3)"), (1, [2])]),
        ('{"session": "a", "items": [1.0]}\n', [("a", f"line 1: {NO_ID} 1.0")]),
        ('{"session": "a", "items": [null]}\n', [("a", f"line 1: {NO_ID} null")]),
        ('{"session": "a", "items": [true]}\n', [("a", f"line 1: {NO_ID} true")]),
        ('{"session": "a", "items": [NaN]}\n', [("a", f"line 1: {NO_ID} NaN")]),
        ('{"session": "a", "items": [[1]]}\n', [("a", f"line 1: {NO_ID} [1]")]),
        ('{"session": "a", "items": "1 2"}\n', [("a", 'line 1: expected a list of item ids, got "1 2"')]),
        ('{"session": "a", "items": null}\n', [("a", "line 1: expected a list of item ids, got null")]),
        ('{"session": "a"}\n', [("a", "line 1: expected 'items' in the object, got none")]),
        ('{"session": 1.5, "items": [1]}\n', [(0, "line 1: expected a string or an integer as 'session', got 1.5")]),
        ('{"session": "\\ud800", "items": [1]}\n["\\ud800"]\n', [
            (0, "line 1: expected whole characters in 'session', got \"\\ud800\""), (1, ["\ud800"]),
        ]),
        ('{"items": [1], "items": [2]}\n', [(0, "line 1: expected every key of an object once, got one twice")]),
        ('5\n"a"\n',
         [(0, "line 1: expected a list of item ids, got 5"), (1, 'line 2: expected a list of item ids, got "a"')]),
        ("[" * 100_000 + "\n[1]\n", [(0, "line 1: expected JSON, got a value nested too deeply"), (1, [1])]),
        (b'["\xff"]\n[1]\n', [(0, "line 1: expected UTF-8, got the byte 0xff"), (1, [1])]),
    ],
)  # fmt: skip
def test_json_lines(tmp_path: Path, content: str | bytes, expected: Rows) -> None:
    path = written(tmp_path, "sessions.jsonl", content)
    for rows in (512, 1):
        assert read(path, rows) == expected


def test_numbers_too_long_to_read(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, "sessions.jsonl", f"[1{'0' * 5000}]\n"))
    assert "line 1: Exceeds the limit" in str(row[1])


@pytest.mark.parametrize("name", ["sessions.csv", "sessions.jsonl"])
def test_lines_too_long_to_hold(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_files, "_LONGEST", 10)
    header = "items\n" if name.endswith(".csv") else ""
    path = written(tmp_path, name, f"{header}[1]\n[{'1' * 8}]\n[{'1' * 50}]\n[222]\n[{'1' * 30}]")
    error = "expected a line of less than 10 characters, got a longer one"
    first = 2 if header else 1
    assert read(path) == [
        (0, [1]),
        (1, f"line {first + 1}: {error}"),
        (2, f"line {first + 2}: {error}"),
        (3, [222]),
        (4, f"line {first + 4}: {error}"),
    ]


IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=4)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(NAMES, st.lists(IDS, max_size=4)), max_size=5), st.integers(1, 4))
def test_what_libraries_write(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str]]], part: int
) -> None:
    """Any ids, by the csv and json modules and by Arrow, are read as they were."""
    folder = tmp_path_factory.mktemp("rows")
    expected = [(name, items) for name, items in rows]
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["session", "items"], *([name, json.dumps(items)] for name, items in rows)])
    lines = [json.dumps({"session": name, "items": items}, ensure_ascii=False) for name, items in rows]
    (folder / "a.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    schema = pa.schema({"session": pa.string(), "items": pa.list_(pa.string())})
    table = pa.Table.from_pylist([{"session": name, "items": items} for name, items in rows], schema)
    pq.write_table(table, folder / "a.parquet", row_group_size=2)
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert read(folder / name, part) == expected


def test_parquet(tmp_path: Path) -> None:
    lists = [[5, 2], [], [7]]
    assert read(parquet(tmp_path, items=lists)) == list(enumerate(lists))
    assert read(parquet(tmp_path, items=[["a"], ["b c"]], session=["x", "x"])) == [("x", ["a"]), ("x", ["b c"])]
    assert read(parquet(tmp_path, other=[1], session=[2**40], items=[[5]])) == [(2**40, [5])]
    assert read(parquet(tmp_path, items=pa.array([], pa.list_(pa.int64())))) == []
    assert read(parquet(tmp_path, items=[[], []])) == [(0, []), (1, [])]
    assert read(parquet(tmp_path, items=[[1]], session=pa.array(["a"]).dictionary_encode())) == [("a", [1])]
    assert read(parquet(tmp_path, items=[[1], [2]], session=["", None])) == [("", [1]), ("1", [2])]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (pa.array([2**40, None, 7]), [2**40, 1, 7]),
        (pa.array([3, None, None], pa.int8()), [3, 1, 2]),
        (pa.array([5.0, None, 2.5]), ["5", "1", "2.5"]),  # as data frames have integers with gaps
        (pa.array([None, None, "x"], pa.large_string()), ["0", "1", "x"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "1", "a"]),
        (pa.array(["a", None, "b"], pa.string_view()), ["a", "1", "b"]),
        (pa.nulls(3), ["0", "1", "2"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_sessions_without_a_name(tmp_path: Path, names: pa.Array, expected: list[object]) -> None:
    """Among others with one: they have their number."""
    path = parquet(tmp_path, items=[[1], [2], [3]], session=names)
    for rows in (512, 2):
        assert [name for name, _ in read(path, rows)] == expected


@pytest.mark.parametrize("values", [pa.int64(), pa.string()], ids=str)
def test_lists_of_dictionaries_in_several_row_groups(tmp_path: Path, values: pa.DataType) -> None:
    lists = [["5", "2"], [], ["7"], ["5"], ["2", "2"]]
    plain = pa.array(lists, pa.list_(pa.string())).cast(pa.list_(values))
    column = pa.ListArray.from_arrays(plain.offsets, plain.values.dictionary_encode())
    pq.write_table(pa.table({"items": column}), tmp_path / "groups.parquet", row_group_size=2)
    for rows in (512, 3, 1):
        assert read(tmp_path / "groups.parquet", rows) == list(enumerate(plain.to_pylist()))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.list_(pa.int8()),
        pa.list_(pa.uint64()),
        pa.large_list(pa.int32()),
        pa.list_(pa.int32(), 2),
        pa.list_(pa.dictionary(pa.int32(), pa.int64())),
    ],
    ids=str,
)
def test_lists_of_every_kind(tmp_path: Path, kind: pa.DataType) -> None:
    """Nulls are that row's error."""
    expected = [
        (0, [5, 2]),
        (1, "row 1: expected a list of item ids, got null"),
        (2, [7, 7]),
        (3, "row 3: expected a list of item ids, got a null among them"),
    ]
    values = [[5, 2], None, [7, 7], [7, None]]
    if pa.types.is_dictionary(kind.value_type):
        plain = pa.array(values, pa.list_(pa.int64()))
        column = pa.ListArray.from_arrays(plain.offsets, plain.values.dictionary_encode(), mask=plain.is_null())
    else:
        column = pa.array(values, kind)
    for rows in (512, 3, 1):
        assert read(parquet(tmp_path, items=column), rows) == expected
    texts = pa.list_(pa.string()) if kind != pa.large_list(pa.int32()) else pa.large_list(pa.large_string())
    if not pa.types.is_dictionary(kind.value_type) and not pa.types.is_fixed_size_list(kind):
        assert read(parquet(tmp_path, items=pa.array([["x", "7"], None], texts)))[0] == (0, ["x", "7"])


def test_missing_file(tmp_path: Path) -> None:
    for name in ("sessions.csv", "sessions.jsonl", "sessions.parquet"):
        with pytest.raises(FileNotFoundError) as error:
            read(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: expected a file of sessions"


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe cannot be read twice, and waits for ever for who writes into it."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("pipe.jsonl", "folder.parquet"):
        with pytest.raises(ValueError) as error:
            read(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: expected a file of sessions, got a folder or a pipe"


@pytest.mark.parametrize("name", ["sessions.txt", "sessions", "sessions.csv.gz"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "items\n1\n")
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value) == f"{path}: expected a name that ends in .csv, .jsonl or .parquet"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"session": ["a"]}, "expected a column 'items', got session"),
        ({}, "expected a column 'items', got none"),
        ({"items": ["1 2"]}, "expected lists of integers or strings in 'items', got string"),
        ({"items": [5]}, "expected lists of integers or strings in 'items', got int64"),
        ({"items": [[5.0]]}, "expected lists of integers or strings in 'items', got list<element: double>"),
        ({"items": [[True]]}, "expected lists of integers or strings in 'items', got list<element: bool>"),
        ({"items": [[b"a"]]}, "expected lists of integers or strings in 'items', got list<element: binary>"),
        ({"items": [[5]], "session": [[5]]}, "expected names in 'session', got list<element: int64>"),
    ],
)
def test_wrong_parquet(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = parquet(tmp_path, **columns)
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a column 'items', got none"),
        ("session\na\n", "expected a column 'items', got session"),
        (b"items,\xff\n", "expected a column 'items': expected UTF-8, got the byte 0xff"),
        (b"\xff\xfei\x00\n\x00", "expected a column 'items': expected UTF-8, got the byte 0xff"),
        ("items,items\n1,2\n", "expected a column 'items', got items, items"),
        ("session,session,items\n1,2,3\n", "expected a column 'items', got session, session, items"),
        ('items,"x\n1,2\n', "expected a column 'items', got none"),
    ],
)
def test_wrong_header(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path, "sessions.csv", content)
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value) == f"{path}: {message}"


def test_damaged_parquet(tmp_path: Path) -> None:
    """An error, or, where no checksum says so, some sessions; never anything else."""
    path = parquet(tmp_path, session=["a", "b"], items=[[1, 2], [3]])
    content = path.read_bytes()
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=": expected sessions, got a damaged file: "):
            read(path)
    generator = random.Random(0)
    messages = refusals(path, (wrong_bytes(content, generator) for _ in range(100)), lambda: read(path))
    assert len(messages) > 25
    assert all(message.startswith(f"{path}: expected ") for message in messages)


@pytest.mark.parametrize("column", ["session", "items"])
def test_parquet_with_text_that_is_no_utf8(tmp_path: Path, column: str) -> None:
    """Parquet's readers do not look."""
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    columns = {"session": pa.array(["a"]), "items": pa.array([["a"]])}
    columns[column] = text if column == "session" else pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), text)
    path = parquet(tmp_path, **columns)
    with pytest.raises(ValueError, match=": expected sessions, got a damaged file: .*Invalid UTF8"):
        read(path)


def test_flipped_bits_under_a_checksum(tmp_path: Path) -> None:
    """Each is found."""
    path = tmp_path / "sessions.parquet"
    pq.write_table(
        pa.table({"items": [[10_000 + i] for i in range(50)]}), path, write_page_checksum=True, compression="none"
    )
    content = path.read_bytes()
    place = content.index(np.int64(10_007).tobytes())
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(ValueError, match=": expected sessions, got a damaged file: "):
        read(path)


@pytest.mark.parametrize("name", ["sessions.csv", "sessions.jsonl", "sessions.parquet"])
def test_memory_is_bounded(tmp_path: Path, name: str) -> None:
    """A file is read as far as it is asked for."""
    path = tmp_path / name
    lists = [[number] for number in range(5_000)]
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"items": lists}), path, row_group_size=100)
    else:
        path.write_text(("items\n" if name.endswith(".csv") else "") + "".join(f"{items}\n" for items in lists))
    parts = read_sessions(path, 7)
    first = next(parts)
    assert (first.names.to_pylist(), first.items) == (list(range(7)), lists[:7])
    rest: Sequence[list[object]] = [items for part in parts for items in part.items]
    assert rest == lists[7:]
