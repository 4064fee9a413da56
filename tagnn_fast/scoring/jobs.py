"""Recommendations for many sessions, in a folder that is there as a whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from typing import Any, Literal, get_args

from tagnn_fast.checks import check_text
from tagnn_fast.data.session_files import count_sessions, read_sessions
from tagnn_fast.extras import needed_by
from tagnn_fast.files import exclusive, new_folder, write_json
from tagnn_fast.logs.arguments import check_files, log_format, prepare_options
from tagnn_fast.logs.frames import Logs, found_logs
from tagnn_fast.logs.running import engine_errors, working_folder
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown
from tagnn_fast.recommend_files import Asked, FileAnswer, Model, told_of
from tagnn_fast.runs.in_shards import recommender_in_shards
from tagnn_fast.scoring.on_ray import do_on_ray, ray_cluster
from tagnn_fast.scoring.on_spark import do_on_spark, spark_master, spark_session
from tagnn_fast.scoring.tasks import SESSIONS, Job, count_of, file_of, open_model, workers_here, write_file

EngineName = Literal["local", "shards", "spark", "ray"]
_WITH_WORKERS = "spark", "ray"
SUMMARY = "_summary.json"  # what begins so is no part of a table, to those who read folders of Parquet files

# Of all options of a log, those that are used here: nothing is filtered or split.
_OF_SESSIONS = (
    *("sessions", "gap", "time_zone", "from_time", "until_time", "order"),
    *("collapse_repeats", "max_session_clicks"),
)
_FORMAT, _VERSION = "tagnn_fast.recommendations", 1
_Do = Callable[[Job, int], list[dict[str, Any]]]  # does so many tasks, gives rows of tasks.DONE


@dataclass(frozen=True)
class Summary:
    """What became of the sessions.

    Attributes:
        answered: how many there are, and how they were answered.
        items: how many the model has to recommend.
        files: how many files the folder has.
        seconds: that it took, the engine's start and the model's loading among them.
        bad_rows: of a log, by reason, how many rows were dropped.
    """

    answered: FileAnswer
    items: int
    files: int
    seconds: float
    bad_rows: Mapping[str, int]


@needed_by("recommend")
def score_sessions(
    model: Path,
    source: Path,
    output: Path,
    asked: Asked,
    engine: EngineName = "local",
    master: str | None = None,
    observer: Observer | None = None,
    sessions: int = SESSIONS,
) -> Summary:
    """Recommend for the sessions of a file.

    Args:
        model: folder of a run or an export.
        source: sessions, see :func:`tagnn_fast.data.session_files.read_sessions`; Parquet for any engine but "local".
        output: folder to make, of ``part-00000.parquet`` and so on, with the columns of
            :func:`tagnn_fast.recommend_files.recommend_file` behind ``number``, the session's number in the source,
            int64, by which the rows of all files are in order; and of a ``_summary.json``. Files are the same whichever
            engine writes them, with as many threads; else scores may differ in their last bits.
        asked: what is to be recommended.
        engine: "local", this process; "shards", several with rows of a run's item table in each; "spark" or "ray",
            whose workers must see all three paths.
        master: Spark's or Ray's; ``local[*]`` if not given, ``local[2]`` for two workers on this machine, or for two
            shards.
        observer: told how many sessions are answered; a progress bar if not given.
        sessions: of each file, a multiple of what is scored together.

    Raises:
        FileNotFoundError, ValueError: on a model or a source that cannot be read, or options that are refused.
        TypeError, ValueError, FloatingPointError: as :meth:`tagnn_fast.recommender.Recommender.recommend`.
        FileExistsError: where the output is there.
        OSError: where the engine fails, or the output cannot be written.
        ModuleNotFoundError: without the extra ``tagnn_fast[spark]`` or ``tagnn_fast[ray]``, which is named.
    """
    begun = time.monotonic()
    _check_engine(engine, master)
    if engine in _WITH_WORKERS and source.suffix != ".parquet":
        raise ValueError(f"input: expected a Parquet file with --engine {engine}, got {source}")
    _check_columns(source)
    with engine_errors("recommend"), _folder(output) as new, shown(observer) as told:
        job = Job(model.resolve(), source.resolve(), new, asked, sessions)
        with _opened(model, asked, engine, master) as opened:
            items = len(opened.vocabulary)
            if engine not in _WITH_WORKERS:
                answered = _here(opened, job, told)
        del opened  # workers have their own
        if engine in _WITH_WORKERS:
            with _workers(engine, master, told) as do:
                answered = _by_workers(do, job, told)
        record = {"model": str(model), "input": str(source), "engine": engine}
        return _summarised(job, items, answered, begun, record)


@needed_by("recommend")
def score_logs(
    model: Path,
    logs: Logs,
    output: Path,
    asked: Asked,
    given: Mapping[str, Any],
    engine: EngineName = "local",
    master: str | None = None,
    max_bad_rows: int = 0,
    observer: Observer | None = None,
    sessions: int = SESSIONS,
) -> Summary:
    """Cut a log's clicks into sessions, and recommend for each of them: see :func:`score_sessions`.

    Args:
        model: see there.
        logs: see :func:`tagnn_fast.logs.jobs.prepare`.
        output: see above. Sessions are in the order of their last clicks, and have the names that
            :func:`tagnn_fast.logs.named_sessions.write_sessions` gives them.
        asked: see above.
        given: options of :func:`tagnn_fast.logs.jobs.prepare` that say how files are read, and sessions made of clicks.
        engine: "local" or "shards", whose sessions are cut by DuckDB; or "spark".
        master: see above.
        max_bad_rows: so many rows that cannot be used are dropped and reported; more are an error.
        observer: see above.
        sessions: see above.

    Raises:
        TypeError, ValueError: on logs or options that are refused.
        TypeError, ValueError, OSError, FloatingPointError, ModuleNotFoundError: as above.
    """
    from tagnn_fast.logs.engines import DuckDB, Spark
    from tagnn_fast.logs.named_sessions import write_sessions

    begun = time.monotonic()
    _check_engine(engine, master)
    if engine == "ray":
        raise ValueError("engine: expected local, shards or spark with --from-logs, got 'ray', which cuts no sessions")
    form = log_format(dict(given))
    options = prepare_options(form, "clean", dict(given))
    with (
        engine_errors("recommend"),
        _folder(output) as new,
        working_folder(output) as work,
        found_logs(logs, form, work) as files,
        shown(observer) as told,
    ):
        check_files(files, dict(given))
        job = Job(model.resolve(), work / "sessions.parquet", new, asked, sessions)
        what = (files, form, options, job.source, max_bad_rows, told.stage)
        with _opened(model, asked, engine, master) as opened:
            items = len(opened.vocabulary)
            if engine not in _WITH_WORKERS:
                with DuckDB(work, options.time_zone) as running:
                    report = write_sessions(running, *what)
                answered = _here(opened, job, told)
        del opened
        if engine in _WITH_WORKERS:
            with Spark(work, options.time_zone, master=spark_master(master)) as spark:
                report = write_sessions(spark, *what)
                answered = _by_workers(partial(do_on_spark, spark.session), job, told)
        used = {name: value for name, value in options.as_json().items() if name in _OF_SESSIONS}
        record = {"model": str(model), "logs": files.described, "options": used, "engine": engine}
        dropped = {reason: found["count"] for reason, found in report.bad_rows.items()}
        return _summarised(job, items, answered, begun, record, dropped)


def _check_engine(engine: str, master: str | None) -> None:
    if engine not in get_args(EngineName):
        raise ValueError(f"engine: expected local, shards, spark or ray, got {engine!r}")
    if master is not None and engine == "local":
        raise ValueError(f"master: expected none with --engine local, got {check_text(master, 'master')!r}")
    if master is not None and engine == "shards" and workers_here(check_text(master, "master")) is None:
        raise ValueError(f"master: expected such as local[2] with --engine shards, got {master!r}")


def _check_columns(source: Path) -> None:
    """Refuse a file of sessions before anything is loaded or started."""
    if count_sessions(source) is not None:
        next(read_sessions(source, end=0))


@contextmanager
def _opened(folder: Path, asked: Asked, engine: EngineName, master: str | None) -> Iterator[Model]:
    """What answers here, or would."""
    if engine == "shards":
        with recommender_in_shards(folder, count_of(workers_here(master or "local[*]") or "*")) as model:
            if model is None:
                raise ValueError(
                    "engine: expected shards in one process, which starts the others, got one of torchrun's"
                )
            asked.of(model, [])
            yield model
        return
    opened = open_model(folder)
    asked.of(opened, [])  # what cannot be asked is refused here
    yield opened


@contextmanager
def _folder(output: Path) -> Iterator[Path]:
    """A folder to fill, which becomes the output."""
    with exclusive(output), new_folder(output) as new:
        yield new


def _here(model: Model, job: Job, told: Observer) -> list[FileAnswer]:
    """All sessions, one part after the other, by all cores."""
    parts = told_of(read_sessions(job.source), job.source, told)
    tasks = groupby(parts, key=lambda part: part.first // job.sessions)
    return [write_file(model, own, job.output, task, job.asked) for task, own in tasks]


@contextmanager
def _workers(engine: EngineName, master: str | None, told: Observer) -> Iterator[_Do]:
    told.stage(f"starting {engine.capitalize()}")
    if engine == "spark":
        with spark_session(master) as session:
            yield partial(do_on_spark, session)
    else:
        with ray_cluster(master):
            yield do_on_ray


def _by_workers(do: _Do, job: Job, told: Observer) -> list[FileAnswer]:
    """All sessions, by an engine's workers."""
    total = count_sessions(job.source)
    assert total is not None
    before, tasks = job.source.stat(), job.tasks(total)
    with _told_of_files(job, total, told):
        rows = sorted(do(job, tasks), key=lambda row: row["task"])
    for row in rows:
        if row["wrong"]:
            raise ValueError(row["wrong"])
    answered = [FileAnswer(row["sessions"], row["popular"], row["failed"], row["first_error"]) for row in rows]
    after = job.source.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ValueError(f"{job.source}: expected a file that stays as it is, got one that has changed meanwhile")
    if [row["task"] for row in rows] != list(range(tasks)) or sum(part.sessions for part in answered) != total:
        raise OSError(f"recommend: expected {total:,} sessions of {tasks:,} tasks to be answered, got others")
    for task in range(tasks):
        if not file_of(job.output, task).is_file():
            raise OSError(
                f"{file_of(job.output, task)}: expected what a worker wrote there, got none: all workers and this "
                "process must see the same folder under this path"
            )
    for left in job.output.glob(".*.tmp"):  # by workers that were killed
        shutil.rmtree(left, ignore_errors=True)
    return answered


@contextmanager
def _told_of_files(job: Job, total: int, told: Observer) -> Iterator[None]:
    """The observer is told of each file that is there, while the block waits for the workers."""
    over, seen = Event(), 0

    def look() -> None:
        nonlocal seen
        found = min(total, job.sessions * sum(1 for _ in job.output.glob("part-*.parquet")))
        if found > seen:
            told.advance(found - seen)
            seen = found

    def watch() -> None:
        while not over.wait(0.5):
            look()

    told.begin("answering sessions", total)
    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        look()


def _summarised(
    job: Job,
    items: int,
    answered: list[FileAnswer],
    begun: float,
    record: Mapping[str, Any],
    bad_rows: Mapping[str, int] = MappingProxyType({}),
) -> Summary:
    """The summary, which is also written beside the files: of a folder that has one, nothing is missing."""
    together = FileAnswer()
    for part in answered:
        together = together.and_then(part)
    summary = Summary(together, items, len(answered), time.monotonic() - begun, bad_rows)
    value = {
        "format": _FORMAT,
        "version": _VERSION,
        **record,
        "k": job.asked.k,
        "exclude_clicked": job.asked.exclude_clicked,
        "sessions": together.sessions,
        "answered_by_model": together.by_model,
        "answered_by_popularity": together.popular,
        "failed": together.failed,
        "first_error": together.first_error,
        "bad_rows": dict(bad_rows),
        "files": summary.files,
        "seconds": round(summary.seconds, 3),
    }
    write_json(job.output / SUMMARY, value)
    return summary
