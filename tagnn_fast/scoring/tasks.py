"""What a worker does, whichever engine it works for: it answers some sessions, and puts them into a file of their own.

A file has its task's number as its name and is there as a whole or not at all. So a task that is run again, or twice at
the same time, leaves what it would have left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import torch

from tagnn_fast.checks import check_path
from tagnn_fast.data.session_files import PART, SessionPart, read_sessions
from tagnn_fast.data.table_files import TableWriter
from tagnn_fast.recommend_files import Asked, FileAnswer, Model, write_answers
from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.served_model import load

# Whole parts, which are scored together: the last bits of a score depend on what it is scored with.
SESSIONS = 64 * PART

# What a worker says of a task. `wrong` is what no other worker could do either, else empty.
DONE = pa.schema(
    [
        ("task", pa.int64()),
        ("sessions", pa.int64()),
        ("popular", pa.int64()),
        ("failed", pa.int64()),
        ("first_error", pa.string()),
        ("wrong", pa.string()),
    ]
)


@dataclass(frozen=True)
class Job:
    """What every worker is told; all paths are the same for all of them.

    Attributes:
        model: folder of a run or an export.
        source: Parquet file of sessions.
        output: folder of the files to write.
        asked: what is to be recommended.
        sessions: how many a task has, a multiple of what is scored together.
    """

    model: Path
    source: Path
    output: Path
    asked: Asked
    sessions: int = SESSIONS

    def tasks(self, sessions: int) -> int:
        """How many tasks so many sessions make; one at least, for a table without rows."""
        return max(1, -(-sessions // self.sessions))


def open_model(folder: Path) -> Model:
    """What answers: the model of a run folder, or of an exported one, which is a program.

    Raises:
        FileNotFoundError, ValueError: where it is neither, or damaged.
    """
    folder = check_path(folder, "run", "a run's folder or an exported one")
    return load(folder, None) if (folder / "manifest.json").is_file() else open_run(folder).recommender()


@lru_cache(maxsize=1)
def _model_of_this_worker(folder: Path) -> Model:
    torch.set_num_threads(1)  # the engine has as many workers as there are cores
    return open_model(folder)


def workers_here(master: str) -> str | None:
    """Workers to start on this machine: 2 of ``local[2]``, * of ``local[*]``; None where it is an address."""
    local = re.fullmatch(r"local(?:\[(\*|\d+)\])?", master)
    return (local[1] or "1") if local else None


def count_of(workers: str) -> int:
    """How many :func:`workers_here` means: * are as many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if workers == "*" else int(workers)


def file_of(output: Path, task: int) -> Path:
    """Where a task's answers are."""
    return output / f"part-{task:05d}.parquet"


def write_file(model: Model, parts: Iterable[SessionPart], output: Path, task: int, asked: Asked) -> FileAnswer:
    """Answer the sessions of a task."""
    with TableWriter(file_of(output, task)) as writer:
        return write_answers(model, parts, asked, writer.write, numbered=True)


def prepare_worker(job: Job) -> None:
    """Load the model, once in a process."""
    _model_of_this_worker(job.model)


def do_tasks(job: Job, tasks: Iterable[int]) -> pa.RecordBatch:
    """Do some tasks on a worker.

    Returns:
        A row of :data:`DONE` for each.

    Raises:
        OSError: on what another worker may be able to do.
    """
    rows = []
    for task in tasks:
        answered, wrong = FileAnswer(), ""
        first = task * job.sessions
        try:
            parts = read_sessions(job.source, first=first, end=first + job.sessions)
            answered = write_file(_model_of_this_worker(job.model), parts, job.output, task, job.asked)
        except (FloatingPointError, TypeError, ValueError) as error:
            wrong = str(error)
        rows.append({"task": task, **answered._asdict(), "wrong": wrong})
    return pa.RecordBatch.from_pylist(rows, DONE)
