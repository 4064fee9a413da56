"""`tagnn-fast recommend` into a folder: of files and of logs; what goes together, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.served_model import load
from tests.cli.commands import contents, read, refused, succeed, words
from tests.cli.session_tables import COLUMNS, recommended, write_sessions
from tests.runs.small_runs import write_run
from tests.scoring import logs
from tests.scoring.logs import GAP, Named, sessions_by_hand, write_log


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the items of the log, integers."""
    return write_run(tmp_path_factory.mktemp("small"), range(1000, 1090, 10))


def of(named: Named, model: Path, k: int) -> list[tuple[object, ...]]:
    """Number, session, rank, item, answer and skipped of all rows."""
    rows: list[tuple[object, ...]] = []
    for number, (name, items) in enumerate(named):
        rows += [(number, name, *values) for values in recommended(model, items, k)]
    return rows


def rows_of(folder: Path) -> list[tuple[object, ...]]:
    rows = pq.read_table(folder).to_pylist()
    return [tuple(row[name] for name in ("number", "session", "rank", "item", "answer", "skipped")) for row in rows]


def test_folder(trained: Path, known: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "out.2024-06-01"
    named: Named = [("a", list(map(str, known[:3]))), ("b", []), ("a", ["7"])]
    path = write_sessions(tmp_path / "in.csv", [items for _, items in named], [name for name, _ in named])
    printed = words(succeed("recommend", trained, "-k", 4, "--input", path, "--output", folder))
    assert f"wrote {folder}: 4 items for each of 3 sessions" in printed
    assert "answered 1 by the model, 2 by popularity, 0 not at all, in " in printed
    assert rows_of(folder) == of(named, trained, 4)
    assert pq.read_table(folder).column_names == ["number", *COLUMNS]
    again = refused("recommend", trained, "--input", path, "--output", folder)
    assert again == f"{folder}: expected a folder that does not exist yet"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", folder.name]


def test_rows_that_cannot_be_used(trained: Path, known: list[int], tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"[{known[0]}]\n[1.5]\n")
    message = refused("recommend", trained, "--input", path, "--output", tmp_path / "out")
    error = "line 2: expected item ids that are strings or integers, got 1.5"
    assert message == (
        f"{path}: 1 of 2 rows could not be answered, see 'error' in {tmp_path / 'out'}; the first: {error}"
    )
    assert pq.read_table(tmp_path / "out")["error"].to_pylist() == [None] * 20 + [error]
    assert read(tmp_path / "out/_summary.json")["first_error"] == error


def test_export_without_torchscript(trained: Path, known: list[int], tmp_path: Path) -> None:
    succeed("export", trained, tmp_path / "exported", "--formats", "program")
    lists = [succeed("recommend", model, known[0], known[1]) for model in (tmp_path / "exported", trained)]
    assert lists[0] == lists[1]
    assert load(tmp_path / "exported").format == "program"


def test_exported_model(trained: Path, known: list[int], tmp_path: Path) -> None:
    """As its run: for a session, into a file and into a folder."""
    succeed("export", trained, tmp_path / "exported")
    exported = tmp_path / "exported"
    assert succeed("recommend", exported, known[0], 7, known[1]) == succeed("recommend", trained, known[0], 7, known[1])
    sessions = [known[:3], [7, known[5]], [7], [], known[50:90]]
    path = write_sessions(tmp_path / "in.parquet", sessions)
    for output in ("out", "out.parquet"):
        for model, folder in ((exported, tmp_path / "a"), (trained, tmp_path / "b")):
            folder.mkdir(exist_ok=True)
            succeed("recommend", model, "-k", 200, "--exclude-clicked", "--input", path, "--output", folder / output)
        actual, expected = (pq.read_table(tmp_path / folder / output) for folder in "ab")
        assert actual.drop_columns("score").equals(expected.drop_columns("score"))
        assert actual["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), rel=1e-5, abs=1e-6)


def test_sessions_of_users(small: Path, tmp_path: Path) -> None:
    """Cut where they pause; of a user with several, they are in the order of time."""
    clicks = write_log(tmp_path / "log.csv")
    named = sessions_by_hand(clicks, lambda click: click[0], GAP)
    assert len(named) > len({click[0] for click in clicks}) * 2
    printed = succeed(
        "recommend", small, "-k", 3, "--from-logs", tmp_path / "log.csv", *logs.USERS, "--output", tmp_path / "out"
    )
    assert f"3 items for each of {len(named)} sessions" in words(printed)
    assert rows_of(tmp_path / "out") == of(named, small, 3)
    summary = read(tmp_path / "out/_summary.json")
    assert [file["name"] for file in summary["logs"]] == ["log.csv"]
    assert summary["options"]["gap"] == "30m"


def test_sessions_of_the_log(small: Path, tmp_path: Path) -> None:
    """By their own names, with their user's before it where there are both; of several files, with a window."""
    clicks = write_log(tmp_path / "log.csv")
    lines = (tmp_path / "log.csv").read_text().splitlines()
    for part, own in ((1, lines[1:400]), (2, lines[400:])):
        (tmp_path / f"part{part}.csv").write_text("\n".join([lines[0], *own, ""]))
    parts = ["--from-logs", tmp_path / "part1.csv", "--from-logs", tmp_path / "part2.csv"]
    for number, (options, name) in enumerate(
        [
            (logs.SESSIONS, lambda click: click[1]),
            ((*logs.SESSIONS, "--user-column", "user"), lambda click: f"{click[0]}/{click[1]}"),
        ]
    ):
        output = tmp_path / f"out{number}"
        succeed("recommend", small, "-k", 2, *parts, *options, "--output", output)
        assert rows_of(output) == of(sessions_by_hand(clicks, name), small, 2)


def test_options_of_sessions(small: Path, tmp_path: Path) -> None:
    """Last clicks without repeats; and rows that cannot be used."""
    clicks = write_log(tmp_path / "log.csv", 400)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("u1,11,,5\n")
    options = (*logs.SESSIONS, "--collapse-repeats", "--max-session-clicks", 2, "--output", tmp_path / "out")
    command = ("recommend", small, "-k", 1, "--from-logs", tmp_path / "log.csv", *options)
    assert "expected at most 0 bad rows" in refused(*command)
    assert not (tmp_path / "out").exists()
    printed = words(succeed(*command, "--max-bad-rows", 1))
    assert "rows dropped: 1, no item" in printed
    named = sessions_by_hand(clicks, lambda click: click[1])
    kept: Named = []
    for name, items in named:
        distinct = [item for place, item in enumerate(items) if place == 0 or items[place - 1] != item]
        kept.append((name, distinct[-2:]))
    assert rows_of(tmp_path / "out") == of(kept, small, 1)
    assert read(tmp_path / "out/_summary.json")["bad_rows"] == {"no item": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1000", "--engine", "spark"], "engine: expected none without a folder as --output, got 'spark'"),
        (["1000", "--master", "local[2]"], "master: expected none without a folder as --output, got 'local[2]'"),
        (["--input", "in.csv", "--output", "o.csv", "--engine", "ray"], "engine: expected none without a folder as"),
        (["--input", "in.csv", "--output", "out", "--master", "x"], "master: expected none with --engine local, got"),
        (["--input", "in.csv", "--output", "out", "--engine", "dask"], "engine: expected local, shards, spark or "),
        (
            ["--input", "in.csv", "--output", "out", "--engine", "shards", "--master", "host:1"],
            "master: expected such as",
        ),
        (["--input", "in.csv", "--output", "out", "--engine", "spark"], "input: expected a Parquet file with --engine"),
        (["--input", "in.csv", "--output", "out", "--gap", "1h"], "gap: expected none without --from-logs, got '1h'"),
        (["--input", "in.csv", "--output", "out", "--max-bad-rows", "3"], "max_bad_rows: expected none without --from"),
        (["1000", "--no-collapse-repeats"], "collapse_repeats: expected none without --from-logs, got False"),
        (
            ["--from-logs", "log.csv", *logs.USERS, "--output", "out", "--engine", "ray"],
            "engine: expected local, shards",
        ),
        (["--from-logs", "log.csv", *logs.USERS, "--output", "o.csv"], "output: expected a folder, a name without an"),
        (["--from-logs", "log.csv", "--output", "out"], "expected --format, or the columns: --session-column or"),
        (["--from-logs", "log.csv", *logs.SESSIONS, "--gap", "1h", "--output", "out"], "gap: expected none where the"),
        (["--from-logs", "log.csv", *logs.USERS, "--quote", "", "--output", "out", "-k", "0"], "k: expected 1 or more"),
        (["--from-logs", "no.csv", *logs.USERS, "--output", "out"], "'no.csv': expected a file, a folder or a pattern"),
        (["--from-logs", "log.csv", *logs.USERS], "recommend: expected item ids, or --input and --output"),
        (["--from-logs", "log.csv", "--input", "in.csv", "--output", "out"], "recommend: expected item ids, or --in"),
    ],
)
def test_what_is_refused(
    arguments: list[Any], message: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, before anything is written."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.csv", 9)
    (tmp_path / "in.csv").write_text("items\n1000\n")
    before = contents(tmp_path)
    assert refused("recommend", small, *arguments).startswith(message)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("engine", "package"), [("spark", "pyspark"), ("ray", "ray")])
def test_engine_that_is_not_installed(
    engine: str, package: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the extra."""
    pq.write_table(pa.table({"items": [[1000]]}), tmp_path / "in.parquet")
    for module in (package, f"{package}.sql"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    options = ("--input", tmp_path / "in.parquet", "--output", tmp_path / "out", "--engine", engine)
    expected = f"this command needs {package}: pip install 'tagnn_fast[{engine}]'"
    assert refused("recommend", small, *options) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_model_that_is_none(small: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", 9)
    damaged = Path(shutil.copytree(open_run(small).folder, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"x")
    options = ("--from-logs", tmp_path / "log.csv", *logs.USERS, "--output", tmp_path / "out")
    assert refused("recommend", damaged, *options).startswith(f"{damaged / 'model.safetensors'}: expected a safetensor")
    assert not (tmp_path / "out").exists()
