"""`tagnn-fast recommend`: a session on the command line, and files of sessions in both formats."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data.table_files import TableWriter
from tagnn_fast.runs.run import open_run
from tests.cli.commands import contents, refused, run, succeed, words
from tests.cli.session_tables import COLUMNS, UNKNOWN, answers, read_table, recommended, rows, titles, write_sessions

KINDS = [".parquet", ".csv", ".jsonl"]


@pytest.fixture(scope="session")
def popular(data: Path) -> list[tuple[int, int]]:
    """Item ids and their clicks, most clicked first."""
    items = pq.read_table(data / "items.parquet").to_pylist()
    items.sort(key=lambda item: (-item["count"], item["index"]))
    return [(item["raw_id"], item["count"]) for item in items]


def test_session(trained: Path, known: list[int]) -> None:
    session = known[3:6]
    printed = succeed("recommend", trained, *session, "-k", 5)
    expected = open_run(trained).recommender().recommend([session], 5).to_table().to_pylist()
    assert f"after {' '.join(map(str, session))} ┏" in words(printed)
    titled = titles(trained)
    assert rows(printed) == [
        [str(row["rank"]), str(row["item"]), f"{row['score']:.4f}", titled[row["item"]]] for row in expected
    ]
    assert len(rows(succeed("recommend", trained, *session))) == 20


def test_unknown_items_are_skipped(trained: Path, known: list[int]) -> None:
    with_unknown = succeed("recommend", trained, UNKNOWN, known[0], UNKNOWN + 1, known[1])
    assert f"after 7 {known[0]} 8 {known[1]} (2 unknown, skipped)" in words(with_unknown)
    assert rows(with_unknown) == rows(succeed("recommend", trained, known[0], known[1]))


def test_nothing_known(trained: Path, popular: list[tuple[int, int]]) -> None:
    printed = succeed("recommend", trained, UNKNOWN, UNKNOWN + 1, "--k", 3)
    assert "after 7 8: no item of it is known, so the most popular ones" in words(printed)
    assert "clicks in training" in printed
    titled = titles(trained)
    assert rows(printed) == [
        [str(rank), str(item), str(count), titled[item]] for rank, (item, count) in enumerate(popular[:3], 1)
    ]


@pytest.mark.parametrize("item", ["shoe", "1.5", "", "9" * 30, "[/x]", "\udcff"])
def test_ids_that_no_item_has(item: str, trained: Path, known: list[int]) -> None:
    """They are unknown, whatever they look like."""
    printed = succeed("recommend", trained, known[0], item)
    assert "(1 unknown, skipped)" in words(printed)
    assert rows(printed) == rows(succeed("recommend", trained, known[0]))


@pytest.mark.parametrize("k", [0, -3])
def test_k(k: int, trained: Path, known: list[int], tmp_path: Path) -> None:
    assert refused("recommend", trained, known[0], "-k", k) == f"k: expected 1 or more, got {k}"
    sessions = write_sessions(tmp_path / "in.csv", [known[:2]])
    output = tmp_path / "out.csv"
    assert "k: expected 1 or more" in refused("recommend", trained, "-k", k, "--input", sessions, "--output", output)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("k", [148, 149, 10**30])
def test_k_above_the_catalogue(k: int, trained: Path, known: list[int], tmp_path: Path) -> None:
    """Gives what there is: 148 items."""
    assert len(rows(succeed("recommend", trained, known[0], "-k", k))) == 148
    sessions = write_sessions(tmp_path / "in.csv", [known[:2], []])
    succeed("recommend", trained, "-k", k, "--input", sessions, "--output", tmp_path / "out.parquet")
    assert sorted(read_table(tmp_path / "out.parquet")["item"].to_pylist()) == sorted(known * 2)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
@pytest.mark.parametrize("names", [None, ["b", "a", "b", 'long [name], "quoted"'], [9, 8, 7, -1]])
def test_files(
    source: str, target: str, names: Sequence[object] | None, trained: Path, known: list[int], tmp_path: Path
) -> None:
    """The same answers as for lists, whatever the formats."""
    sessions = [known[:3], [UNKNOWN], [known[5], UNKNOWN, known[5]], known[90:120]]
    path, output = write_sessions(tmp_path / f"in{source}", sessions, names), tmp_path / f"out{target}"
    printed = succeed("recommend", trained, "-k", 4, "--input", path, "--output", output)
    assert f"wrote {output}: 4 items for each of 4 sessions" in words(printed)

    expected = open_run(trained).recommender().recommend(sessions, 4).to_table().to_pydict()
    expected["session"] = [(names or range(4))[session] for session in expected["session"]]
    table = read_table(output)
    assert table.column_names == COLUMNS
    actual = table.to_pydict()
    if target == ".csv" or (source == ".csv" and names):  # where names are text
        expected["session"] = list(map(str, expected["session"]))
    assert actual.pop("error") == [None] * 16
    assert actual.pop("score") == pytest.approx(expected.pop("score"))
    assert actual == expected
    assert actual["answer"] == ["model"] * 4 + ["popularity"] * 4 + ["model"] * 8
    assert actual["skipped"] == [0] * 4 + [1] * 8 + [0] * 4
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, output.name])


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_no_sessions(source: str, target: str, trained: Path, tmp_path: Path) -> None:
    """An empty answer, with its columns."""
    path, output = write_sessions(tmp_path / f"in{source}", []), tmp_path / f"out{target}"
    printed = succeed("recommend", trained, "--input", path, "--output", output)
    assert "for each of 0 sessions" in words(printed)
    assert (read_table(output).num_rows, read_table(output).column_names) == (0, COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_without_clicks(
    kind: str, trained: Path, known: list[int], popular: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = write_sessions(tmp_path / f"in{kind}", [[], known[:2], []], ["x", "y", "z"])
    succeed("recommend", trained, "-k", 2, "--input", path, "--output", tmp_path / "out.parquet")
    answers = read_table(tmp_path / "out.parquet").to_pydict()
    assert answers["answer"] == ["popularity"] * 2 + ["model"] * 2 + ["popularity"] * 2
    assert answers["item"][:2] == answers["item"][4:] == [item for item, _ in popular[:2]]
    assert answers["skipped"] == [0] * 6


def test_many_sessions(trained: Path, known: list[int], tmp_path: Path) -> None:
    """More than are scored at once: names and answers stay together."""
    sessions = [[known[number % 148], known[number * 7 % 148]] for number in range(1100)]
    path = write_sessions(tmp_path / "in.parquet", sessions, [f"s{number}" for number in range(1100)])
    succeed("recommend", trained, "-k", 3, "--input", path, "--output", tmp_path / "out.parquet")
    answers = read_table(tmp_path / "out.parquet").to_pydict()
    assert answers["session"] == [f"s{number}" for number in range(1100) for _ in range(3)]
    assert answers["rank"] == [1, 2, 3] * 1100
    recommender = open_run(trained).recommender()
    for number in (0, 511, 512, 1024, 1099):
        expected = recommender.recommend([sessions[number]], 3).items[0]
        assert answers["item"][3 * number : 3 * number + 3] == expected


@pytest.mark.parametrize("target", KINDS)
def test_answers_replace_those_before(target: str, trained: Path, known: list[int], tmp_path: Path) -> None:
    """At once, or not at all."""
    output = tmp_path / f"out{target}"
    output.write_text("before")
    path = tmp_path / "in.csv"
    write_sessions(path, [known[:1]])
    assert "k: expected 1 or more" in refused("recommend", trained, "-k", 0, "--input", path, "--output", output)
    assert output.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["in.csv", output.name])
    write_sessions(path, [known[:1]])
    succeed("recommend", trained, "--input", path, "--output", output)
    assert read_table(output).num_rows == 20


@pytest.mark.parametrize("target", KINDS)
def test_output_that_fails(
    target: str, trained: Path, known: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves nothing."""
    path = write_sessions(tmp_path / "in.csv", [known[:2]] * 600)
    write, left = TableWriter.write, iter([False])

    def full(self: TableWriter, table: pa.Table) -> None:
        if next(left, True):
            raise OSError(28, "No space left on device", "out")
        write(self, table)

    monkeypatch.setattr(TableWriter, "write", full)
    printed = refused("recommend", trained, "--input", path, "--output", tmp_path / f"out{target}")
    assert "No space left on device" in printed
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]


def test_output_that_cannot_be_made(trained: Path, known: list[int], tmp_path: Path) -> None:
    path = write_sessions(tmp_path / "in.csv", [known[:2]])
    before = contents(tmp_path)
    for output in (tmp_path / "nowhere" / "out.csv", path / "out.parquet", tmp_path / "out.txt"):
        assert str(output.parent) in refused("recommend", trained, "--input", path, "--output", output)
    assert refused("recommend", trained, "--input", path, "--output", tmp_path / "out.txt") == (
        f"{tmp_path / 'out.txt'}: expected a name that ends in .csv, .jsonl or .parquet"
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("in.csv", None, "expected a file of sessions"),
        ("in.parquet", None, "expected a file of sessions"),
        ("in.txt", "items\n1\n", "expected a name that ends in .csv, .jsonl or .parquet"),
        ("in.csv", "clicks\n1 2\n", "expected a column 'items', got clicks"),
        ("in.jsonl", None, "expected a file of sessions"),
        ("in.csv", "", "expected a column 'items', got none"),
        ("in.csv", "items,items\n1,2\n", "expected a column 'items', got items, items"),
        ("in.parquet", "PAR1 but not really PAR1", "expected sessions, got a damaged file: "),
    ],
)
def test_input_that_is_refused(name: str, content: str | None, expected: str, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    before = contents(tmp_path)
    printed = refused("recommend", trained, "--input", path, "--output", tmp_path / "out.csv")
    assert printed.startswith(f"{path}: {expected}")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("items", [pa.array([1, 2]), pa.array(["1 2"]), pa.array([[1.5]]), pa.array([[[1]]])], ids=str)
def test_columns_that_are_refused(items: pa.Array, trained: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"items": items}), tmp_path / "in.parquet")
    options: list[Any] = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "out.csv"]
    assert refused("recommend", trained, *options) == (
        f"{tmp_path / 'in.parquet'}: expected lists of integers or strings in 'items', got {items.type}".replace(
            "item:", "element:"
        )
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("target", KINDS)
def test_rows_that_cannot_be_used(target: str, trained: Path, known: list[int], tmp_path: Path) -> None:
    """Each has its error in its place; the others are answered as if they were alone."""
    a, b, c = known[:3]
    path, output = tmp_path / "in.csv", tmp_path / f"out{target}"
    path.write_bytes(
        f"session,items\r\nx,{a} {b}\r\ny,{a},{b}\r\nz,[1.5]\r\n\r\nx,abc {c}\r\n".encode()
        + b"\xff,1\r\n"
        + b"last,0007"
    )
    message = (
        f"{path}: 3 of 7 rows could not be answered, see 'error' in {output}; the first: line 3: "
        "expected 2 columns, got 3"
    )
    assert refused("recommend", trained, "-k", 2, "--input", path, "--output", output) == message
    found = answers(output)
    assert found == {
        "x": recommended(trained, [a, b], 2) + recommended(trained, ["abc", c], 2),
        "y": [("line 3: expected 2 columns, got 3",)],
        "z": [("line 4: expected item ids that are strings or integers, got 1.5",)],
        "3": recommended(trained, [], 2),
        "5": [("line 7: expected UTF-8, got the byte 0xff",)],
        "last": recommended(trained, [UNKNOWN], 2),
    }
    assert list(found) == ["x", "y", "z", "3", "5", "last"]


@pytest.mark.parametrize("source", KINDS)
def test_exclude_clicked(source: str, trained: Path, known: list[int], tmp_path: Path) -> None:
    """On the command line and in files; where all is clicked, nothing is left."""
    sessions = [known[:3], known[1:], known, [UNKNOWN]]
    path, output = write_sessions(tmp_path / f"in{source}", sessions), tmp_path / "out.parquet"
    printed = refused("recommend", trained, "-k", 9, "--exclude-clicked", "--input", path, "--output", output)
    assert "1 of 4 rows could not be answered" in printed
    found = answers(output)
    for name in (0, 1):
        ranked = [values for values in recommended(trained, sessions[name], 148) if values[1] not in sessions[name]]
        expected = [(rank, *values[1:]) for rank, values in enumerate(ranked[:9], 1)]
        assert found[name] == expected
    assert [len(found[name]) for name in range(4)] == [9, 1, 1, 9]
    assert "expected an item to recommend, got none that was not clicked" in str(found[2])
    assert found[3] == recommended(trained, [UNKNOWN], 9)
    table = rows(succeed("recommend", trained, "-k", 9, "--exclude-clicked", *known[:3]))
    assert [row[1] for row in table] == [str(values[1]) for values in found[0]]


def test_names_stay_what_they_are(trained: Path, known: list[int], tmp_path: Path) -> None:
    """Names that are there twice, empty ones, integers, and a mixture that becomes text."""
    items = known[:1]
    for names, expected in (([5, 5, 2**62], pa.int64()), (["", "5", 5], pa.string()), ([2**70, 1, None], pa.string())):
        path = write_sessions(tmp_path / "in.jsonl", [items] * 3, names)
        succeed("recommend", trained, "-k", 1, "--input", path, "--output", tmp_path / "out.parquet")
        column = read_table(tmp_path / "out.parquet")["session"]
        texts = [str(number if name is None else name) for number, name in enumerate(names)]
        assert (column.type, list(map(str, column.to_pylist()))) == (expected, texts)


@pytest.mark.parametrize("kind", [pa.large_list(pa.int64()), pa.list_(pa.int32()), pa.list_(pa.string())], ids=str)
def test_lists_of_other_types(kind: pa.DataType, trained: Path, known: list[int], tmp_path: Path) -> None:
    """As other libraries write them."""
    session = list(map(str, known[:2])) if kind.value_type == pa.string() else known[:2]
    pq.write_table(pa.table({"items": pa.array([session], kind)}), tmp_path / "in.parquet")
    succeed("recommend", trained, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet")
    expected = open_run(trained).recommender().recommend([known[:2]]).items[0]
    assert read_table(tmp_path / "out.parquet")["item"].to_pylist() == expected


def test_what_goes_together(trained: Path, known: list[int], tmp_path: Path) -> None:
    path = write_sessions(tmp_path / "in.csv", [known[:2]])
    for arguments in (
        [],
        ["--input", path],
        ["--output", tmp_path / "out.csv"],
        [known[0], "--input", path, "--output", tmp_path / "out.csv"],
        [known[0], "--output", tmp_path / "out.csv"],
    ):
        assert refused("recommend", trained, *arguments) == "recommend: expected item ids, or --input and --output"
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]
    assert run("recommend").returncode == 2


def test_run_that_is_refused(copied: Path, known: list[int], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused("recommend", nowhere, known[0]) == f"{nowhere}: expected a run folder with a config.json in it"
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert refused("recommend", copied, known[0]).startswith(f"{weights}: expected a safetensors file, got a damaged")
    weights.unlink()
    assert refused("recommend", copied, known[0]) == (f"{weights}: expected weights; the run has not finished an epoch")
