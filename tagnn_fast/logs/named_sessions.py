"""A log's sessions with their names, in a file, for whoever recommends to them: nothing is filtered or split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from tagnn_fast.data.arrow import lists
from tagnn_fast.logs import pipeline
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions
from tagnn_fast.logs.pipeline import Report
from tagnn_fast.logs.prepare import Advance, read_clicks

_SCHEMA = pa.schema([("session", pa.string()), ("items", pa.list_(pa.string()))])


def write_sessions(
    engine: Engine,
    files: LogFiles,
    form: LogFormat,
    options: PrepareOptions,
    path: Path,
    max_bad_rows: int = 0,
    advance: Advance = lambda stage: None,
) -> Report:
    """Write all sessions of a log to a Parquet file, in the order of their last clicks, equal ones of their first rows.

    It has the columns ``session``, the name, and ``items``, the raw ids, strings. A session's name is what the log
    calls it, its user's where the log has users, ``user/session`` where it has both.

    Args:
        engine: what reads and cuts.
        files: of the log.
        form: what they look like.
        options: how sessions are made of clicks, in which order these are and which are taken; the rest does not
            matter.
        path: of the file.
        max_bad_rows: so many rows that cannot be used are dropped and reported; more are an error.
        advance: called with the name of each stage before it begins.

    Returns:
        The rows that were dropped.

    Raises:
        ValueError: on too many bad rows, or no click that can be used.
    """
    report = Report()
    parsed = read_clicks(engine, files, form, options, report, max_bad_rows, False, advance)
    advance("cutting sessions")
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for sessions in _sessions(engine.batches(_named_clicks(engine, parsed, options)), form.user is not None):
            writer.write_table(sessions)
    engine.forget_all_but()
    return report


def _named_clicks(engine: Engine, parsed: Table, options: PrepareOptions) -> Table:
    """session, owner and raw item of each click, sessions and their clicks in order."""
    clicks = pipeline.good_rows(parsed)
    items = engine.keep(pipeline.name_items(clicks))
    made = pipeline.make_sessions(engine.keep(pipeline.cut_sessions(clicks, options)), items, options)
    if options.collapse_repeats:
        made = pipeline.collapse_repeats(engine.keep(made))
    if options.max_session_clicks is not None:
        made = pipeline.last_clicks(engine.keep(made), options.max_session_clicks)
    owners = clicks.select("owner", session="row")  # a session's number is its first click's row
    ids = items.select(item="code", raw="item")
    return pipeline.in_order(made.join(owners, "session").join(ids, "item")).select("session", "owner", "raw")


def _sessions(batches: Iterable[pa.RecordBatch], with_user: bool) -> Iterator[pa.Table]:
    """Sessions of clicks that come in their order, some at a time."""
    rest: pa.Table | None = None
    for batch in chain(batches, [None]):
        held = [] if rest is None else [rest]
        clicks = pa.concat_tables([*held, *([] if batch is None else [pa.Table.from_batches([batch])])])
        numbers = clicks["session"].to_numpy()
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)) if len(numbers) else np.zeros(0, np.int64)
        end = len(numbers) if batch is None else int(starts[-1]) if len(starts) else 0
        starts, rest = starts[starts < end], clicks.slice(end)  # the last session may go on in the next batch
        if len(starts) == 0:
            continue
        names = clicks["owner"].take(pa.array(starts))
        items = clicks["raw"].slice(0, end).combine_chunks().cast(pa.string())
        columns = [_shown(names) if with_user else names.cast(pa.string()), lists(np.append(starts, end), items)]
        yield pa.Table.from_arrays(columns, schema=_SCHEMA)


def _shown(owners: pa.ChunkedArray) -> pa.Array:
    """Owners that are a user and a session, which :func:`pipeline.parse` puts together as 3:abc17; no two alike."""
    names = []
    for owner in owners.to_pylist():
        length, _, both = owner.partition(":")
        user = both[: int(length)].replace("%", "%25").replace("/", "%2F")
        names.append(f"{user}/{both[int(length) :]}")
    return pa.array(names, pa.string())
