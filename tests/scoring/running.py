"""Sessions of every kind, a run that answers them, and what the local engine makes of them: what others are held to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.observer import Observer
from tagnn_fast.recommend_files import Asked
from tagnn_fast.scoring import score_sessions
from tagnn_fast.scoring.jobs import EngineName
from tests.cli.commands import temporary_files
from tests.runs.small_runs import write_run

ITEMS = range(1000, 1300)
PART = 512
ASKED = Asked(5, exclude_clicked=True, exclude=[1003])


class Case(NamedTuple):
    """A run, a file of sessions, and the folder that this process makes of them."""

    run: Path
    sessions: Path
    expected: Path


def write_sessions(path: Path, sessions: int, strings: bool = False, row_group_size: int = 700) -> Path:
    """Known items, unknown ones, none, nulls, rows that cannot be used; names twice; odd row groups."""
    random = Random(0)
    lists: list[list[int | None] | None] = []
    for number in range(sessions):
        length = 0 if number % 97 == 0 else random.choice([1, 2, 3, 5, 9])
        items: list[int | None] = [random.choice(ITEMS) + 1000 * (random.random() < 0.05) for _ in range(length)]
        lists.append(None if number % 301 == 300 else [*items, None] if number % 211 == 210 else items)
    names = pa.array([f"s{number // 2}" for number in range(sessions)]) if strings else pa.array(range(sessions))
    named = names.cast(pa.string() if strings else pa.uint32())
    table = pa.table({"session": named, "items": pa.array(lists, pa.list_(pa.int64()))})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def make_case(folder: Path, sessions: int) -> Case:
    run = write_run(folder / "run", ITEMS)
    source = write_sessions(folder / "sessions.parquet", sessions)
    score_sessions(run, source, folder / "expected", ASKED, sessions=PART)
    return Case(run, source, folder / "expected")


def assert_same_files(actual: Path, expected: Path) -> None:
    """To the byte; beside them nothing but the summary."""
    names = sorted(path.name for path in expected.iterdir())
    assert sorted(path.name for path in actual.iterdir()) == names
    assert len(names) > 1
    for name in names[1:]:
        assert (actual / name).read_bytes() == (expected / name).read_bytes(), name


@contextmanager
def one_worker_killed(output: Path) -> Iterator[list[int]]:
    """Kill a process that writes a file of the output, once another file is there; the list gets its number."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005) and not killed:
            if any(output.parent.glob(f".{output.name}.*.tmp/new/part-*.parquet")):
                for writer in _writers(output.name):
                    os.kill(writer, signal.SIGKILL)
                    killed.append(writer)
                    break

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()


def _writers(name: str) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                opened = [os.readlink(link) for link in (process / "fd").iterdir()]
            except OSError:
                continue  # it is somebody else's, or no more
            if any(f"/.{name}." in path and path.endswith(".parquet") for path in opened):
                yield int(process.name)


def assert_survives_a_kill(case: Case, engine: EngineName, folder: Path, sessions: int) -> None:
    """One of an engine's two workers is killed while it writes: the same files, and nothing left beside them."""
    with one_worker_killed(folder / "out") as killed:
        summary = score_sessions(
            case.run, case.sessions, folder / "out", ASKED, engine, "local[2]", Observer(), sessions=PART
        )
    assert len(killed) == 1
    assert summary.answered.sessions == sessions
    assert_same_files(folder / "out", case.expected)
    assert temporary_files(folder) == []
