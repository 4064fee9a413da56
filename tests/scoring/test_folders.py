"""Folders of recommendations by this process, and what is made of what workers say, without any engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data.session_files import read_sessions
from tagnn_fast.observer import Observer
from tagnn_fast.recommend_files import Asked, recommend_file
from tagnn_fast.scoring import jobs, open_model, score_sessions
from tagnn_fast.scoring.tasks import Job, do_tasks, file_of
from tests.cli.commands import read, temporary_files
from tests.scoring.running import ASKED, PART, Case, assert_same_files, make_case, write_sessions

SESSIONS = 3 * PART + 100
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), SESSIONS)


def by_rows(job: Job, tasks: int) -> Rows:
    """What an engine does, in this process: the last task first, and one of them twice."""
    rows = do_tasks(job, [*reversed(range(tasks)), 1]).to_pylist()
    return rows[:tasks]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Takes the place of Spark and Ray: what is in the list does the tasks."""
    doing = [by_rows]

    @contextmanager
    def workers(*_: object) -> Iterator[object]:
        yield lambda job, tasks: doing[0](job, tasks)

    monkeypatch.setattr(jobs, "_workers", workers)
    return doing


def test_same_rows_as_one_file(case: Case, tmp_path: Path) -> None:
    """With the number of each session before them."""
    answered = recommend_file(open_model(case.run), case.sessions, tmp_path / "all.parquet", **vars(ASKED))
    table = pq.read_table(case.expected)
    assert table.drop_columns("number").equals(pq.read_table(tmp_path / "all.parquet"))
    assert answered.failed > 5
    numbers = table["number"].to_pylist()
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(SESSIONS))
    assert table["session"].type == pa.uint32()
    assert [path.name for path in sorted(case.expected.iterdir())] == [
        "_summary.json",
        *(f"part-{number:05d}.parquet" for number in range(4)),
    ]


def test_summary(case: Case) -> None:
    table = pq.read_table(case.expected)
    summary = read(case.expected / "_summary.json")
    answers = dict(zip(table["number"].to_pylist(), table["answer"].to_pylist(), strict=True))
    counts = [list(answers.values()).count(answer) for answer in ("model", "popularity", "error")]
    assert [summary[f"answered_by_{who}"] for who in ("model", "popularity")] + [summary["failed"]] == counts
    assert min(counts) > 0
    assert summary["sessions"] == sum(counts) == SESSIONS
    assert summary["first_error"] == table["error"].drop_null()[0].as_py()
    assert (summary["engine"], summary["files"], summary["k"]) == ("local", 4, 5)


@pytest.mark.parametrize("name", ["spark", "ray"])
def test_tasks_that_are_done_twice(name: Any, case: Case, tmp_path: Path, engine: list[Any]) -> None:
    summary = score_sessions(case.run, case.sessions, tmp_path / "out", ASKED, name, sessions=PART, observer=Observer())
    assert_same_files(tmp_path / "out", case.expected)
    assert summary.answered.sessions == SESSIONS
    assert read(tmp_path / "out/_summary.json")["engine"] == name
    assert temporary_files(tmp_path) == []


def test_numbers_of_sessions_without_names(case: Case, tmp_path: Path, engine: list[Any]) -> None:
    pq.write_table(pa.table({"items": [[1000 + number % 9] for number in range(PART + 3)]}), tmp_path / "in.parquet")
    for name in ("local", "spark"):
        score_sessions(case.run, tmp_path / "in.parquet", tmp_path / name, Asked(1), name, sessions=PART)
    assert_same_files(tmp_path / "spark", tmp_path / "local")
    table = pq.read_table(tmp_path / "local")
    assert table["session"].to_pylist() == table["number"].to_pylist() == list(range(PART + 3))


def test_no_sessions(case: Case, tmp_path: Path, engine: list[Any]) -> None:
    """A table with its columns, and no row."""
    source = write_sessions(tmp_path / "in.parquet", 0)
    for name in ("local", "spark"):
        summary = score_sessions(case.run, source, tmp_path / name, ASKED, name)
        assert (summary.answered.sessions, summary.files) == (0, 1)
        table = pq.read_table(tmp_path / name)
        assert (table.num_rows, table.column_names) == (0, pq.read_table(case.expected).column_names)


def test_files_of_lines(case: Case, tmp_path: Path) -> None:
    """This process takes these as well; progress is told of each part."""
    path = tmp_path / "in.csv"
    path.write_text("session,items\n" + "".join(f"s{number},{1000 + number % 300}\n" for number in range(PART + 5)))

    class Told(Observer):
        stages: list[str] = []  # noqa: RUF012
        done = 0

        def stage(self, what: str) -> None:
            self.stages.append(what)

        def advance(self, examples: int, loss: float | None = None) -> None:
            self.done += examples

    told = Told()
    summary = score_sessions(case.run, path, tmp_path / "out", Asked(2), sessions=PART, observer=told)
    assert (summary.files, told.done, told.stages) == (2, PART + 5, ["answering sessions"])
    table = pq.read_table(tmp_path / "out")
    assert table["session"].to_pylist() == [f"s{number}" for number in range(PART + 5) for _ in range(2)]


def changed(job: Job, tasks: int) -> Rows:
    rows = by_rows(job, tasks)
    write_sessions(job.source, SESSIONS - 1)
    return rows


def not_seen(job: Job, tasks: int) -> Rows:
    rows = by_rows(job, tasks)
    file_of(job.output, 2).unlink()
    return rows


def left_over(job: Job, tasks: int) -> Rows:
    (job.output / ".part-00001.parquet.0123456789abcdef.tmp").mkdir()
    return by_rows(job, tasks)


@pytest.mark.parametrize(
    ("doing", "message"),
    [
        (changed, "sessions.parquet: expected a file that stays as it is, got one that has changed meanwhile"),
        (not_seen, "part-00002.parquet: expected what a worker wrote there, got none: all workers"),
        (lambda job, tasks: by_rows(job, tasks)[1:], r"expected 1,636 sessions of 4 tasks to be answered, got others"),
        (lambda job, tasks: [*by_rows(job, tasks), by_rows(job, tasks)[0]], "expected 1,636 sessions of 4 tasks"),
        (lambda job, tasks: [{**row, "wrong": "scores: NaN"} for row in by_rows(job, tasks)], "^scores: NaN$"),
    ],
)
def test_what_workers_cannot_have_done(
    doing: object, message: str, case: Case, tmp_path: Path, engine: list[Any]
) -> None:
    """An error, and no folder."""
    engine[0] = doing
    source = Path(shutil.copy(case.sessions, tmp_path))
    with pytest.raises((OSError, ValueError), match=message):
        score_sessions(case.run, source, tmp_path / "out", ASKED, "spark", sessions=PART, observer=Observer())
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.parquet"]


def test_what_killed_workers_leave(case: Case, tmp_path: Path, engine: list[Any]) -> None:
    engine[0] = left_over
    score_sessions(case.run, case.sessions, tmp_path / "out", ASKED, "ray", sessions=PART, observer=Observer())
    assert_same_files(tmp_path / "out", case.expected)


def test_what_no_worker_could_do(case: Case, tmp_path: Path, engine: list[Any]) -> None:
    """A file that is damaged in the middle."""
    source = tmp_path / "sessions.parquet"
    pq.write_table(pq.read_table(case.sessions), source, row_group_size=700, write_page_checksum=True)
    content = bytearray(source.read_bytes())
    content[pq.read_metadata(source).row_group(1).column(1).data_page_offset + 200] ^= 1  # of items
    source.write_bytes(content)
    for name in ("local", "spark"):
        with pytest.raises(ValueError, match=f"^{source}: expected sessions, got a damaged file: "):
            score_sessions(case.run, source, tmp_path / "out", ASKED, name, sessions=PART, observer=Observer())
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.parquet"]


@pytest.mark.parametrize("group", [1, 100, 512, 5000])
@pytest.mark.parametrize(("first", "end"), [(0, None), (0, 512), (512, 1024), (1024, 5000), (512, 513), (1500, 1600)])
def test_some_sessions_of_a_file(first: int, end: int | None, group: int, tmp_path: Path) -> None:
    """Whatever its row groups are: whole parts of 512."""
    path = write_sessions(tmp_path / "in.parquet", 1_300, row_group_size=group)
    parts = list(read_sessions(path, first=first, end=end))
    numbers = [number for part in parts for number in part.names.to_pylist()]
    assert numbers == list(range(1_300))[first:end]
    lists = pq.read_table(path)["items"].to_pylist()
    items = [items for part in parts for items in part.items]
    assert items == [[] if None in (wanted or [None]) and wanted != [] else wanted for wanted in lists[first:end]]
    assert all(len(part.items) == PART for part in parts[:-1])
    assert [part.first for part in parts] == list(range(first, max(first + len(numbers), first + 1), PART))


def test_memory_of_one_large_row_group(tmp_path: Path) -> None:
    """A file is read as it is answered, however it was written."""
    sessions = 200_000
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.random.default_rng(0).integers(0, 2**60, 4 * sessions)), 4)
    pq.write_table(
        pa.table({"items": lists.cast(pa.list_(pa.int64()))}),
        tmp_path / "in.parquet",
        row_group_size=sessions,
        use_dictionary=False,
    )
    assert (tmp_path / "in.parquet").stat().st_size > 6e6
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for part in read_sessions(tmp_path / "in.parquet"):
        most, count = max(most, pa.total_allocated_bytes() - before), count + len(part.items)
    assert count == sessions
    assert most < 2e6
