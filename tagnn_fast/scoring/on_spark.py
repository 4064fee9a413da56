"""Tasks by the workers of Spark: the extra `spark`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from tagnn_fast.extras import own_spark_session
from tagnn_fast.scoring.tasks import Job, do_tasks, workers_here

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ATTEMPTS = 4  # at a task, as clusters have it


def spark_master(master: str | None) -> str:
    """The master's address; on this machine one that tries a failed task again."""
    master = "local[*]" if master is None else master
    if (workers := workers_here(master)) is None:
        return master
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # any python3 on PATH otherwise
    return f"local[{workers},{_ATTEMPTS}]"


@contextmanager
def spark_session(master: str | None) -> Iterator[SparkSession]:
    """A session of Spark while the block runs.

    Raises:
        ValueError: where one runs already.
    """
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    session = own_spark_session("tagnn-fast recommend", spark_master(master), quiet)
    try:
        session.sparkContext.setLogLevel("OFF")  # a worker that is lost is said to be so in a line, if it matters
        yield session
    finally:
        with suppress(Exception):
            session.stop()


def do_on_spark(session: SparkSession, job: Job, tasks: int) -> list[dict[str, object]]:
    """Do tasks 0..tasks-1, each by itself; the rows of :data:`tagnn_fast.scoring.tasks.DONE`."""
    numbers = session.range(0, tasks, 1, tasks)
    done = numbers.mapInArrow(
        partial(_batches, job),
        "task long, sessions long, popular long, failed long, first_error string, wrong string",
    )
    return [row.asDict() for row in done.collect()]


def _batches(job: Job, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield do_tasks(job, batch["id"].to_pylist())
