"""Clicks that are kept with a data set, and new ones added to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _
from ibis.expr.types import Table

from tagnn_fast.data.stored_clicks import StoredClicks
from tagnn_fast.logs.engines import Engine


@dataclass(frozen=True)
class Union:
    """Old clicks and new ones.

    Attributes:
        clicks: all of them, each once: rows of old ones are below `first_new`, those of new ones are not.
        first_new: such a row.
        repeated: `row` of the old clicks that the new log has as well.
        counts: how many clicks of the new log are new, and how many repeated.
    """

    clicks: Table
    first_new: int
    repeated: Table
    counts: dict[str, int]


def store_clicks(engine: Engine, clicks: Table) -> StoredClicks:
    """Clicks as Parquet: their columns, with the rows' numbers, which say in which order they are."""
    if _place_is_time(engine, clicks):
        clicks = clicks.drop("place")
    sink = pa.BufferOutputStream()
    writer: pq.ParquetWriter | None = None
    for batch in engine.batches(clicks):
        if writer is None:
            writer = _writer(sink, batch.schema)
        writer.write_batch(batch)
    if writer is None:
        writer = _writer(sink, clicks.schema().to_pyarrow())
    writer.close()
    return StoredClicks.of(sink.getvalue())


def _place_is_time(engine: Engine, clicks: Table) -> bool:
    """As it is unless the log has a column that says where in a session a click is."""
    return bool(engine.rows(clicks.agg(other=(_.place != _.time).any()))[0]["other"]) is False


def _writer(sink: pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    rising = [field.name for field in schema if pa.types.is_integer(field.type)]
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name not in rising],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    )


def unite(engine: Engine, stored: StoredClicks, new: Table) -> Union:
    """The old clicks, and behind them the new ones that are not among them.

    Two clicks are equal where all is equal but the row. Of equal ones, there are then as many as in the one of the two
    that has more: a click that was sent again is not there twice, and two clicks at the same time stay two.
    """
    old = engine.stored(stored.in_folder(engine.folder))
    if "place" not in old.columns:
        old = old.mutate(place=_.time)
    old = old.select(new.columns)
    key = [name for name in new.columns if name != "row"]
    copies = {"group_by": key, "order_by": "row"}
    found = engine.keep(old.semi_join(new, key).mutate(copy=ibis.row_number().over(**copies)))
    had = found.group_by(key).agg(had=_.count())
    numbered = new.mutate(copy=ibis.row_number().over(**copies))
    sent = engine.keep(numbered.left_join(had, key).select(*new.columns, "copy", had=_.had.fill_null(0)))
    added = sent.filter(_.copy >= _.had)
    times = sent.group_by(key).agg(times=_.count())
    repeated = engine.keep(found.join(times, key).filter(_.copy < _.times).select("row"))
    first_new = int(engine.rows(old.agg(last=_.row.max()))[0]["last"] or 0) + 1
    added = added.mutate(row=_.row + first_new).select(new.columns)
    counts = engine.rows(sent.agg(new=(_.copy >= _.had).sum(), all=_.count()))[0]
    new_clicks = int(counts["new"] or 0)
    return Union(
        engine.keep(old.union(added)), first_new, repeated, {"new": new_clicks, "repeated": counts["all"] - new_clicks}
    )


def count_sessions(engine: Engine, union: Union, clicks: Table) -> dict[str, Any]:
    """Of the sessions that the new log has a click of, how many are new, continued, or there already as they are."""
    marked = clicks.left_join(union.repeated.mutate(again=True), "row").select(
        "session", new=_.row >= union.first_new, again=_.again.fill_null(False)
    )
    sessions = marked.group_by("session").agg(new=_.new.any(), old=(~_.new).any(), again=_.again.any())
    return engine.rows(
        sessions.agg(new=(_.new & ~_.old).sum(), continued=(_.new & _.old).sum(), repeated=(_.again & ~_.new).sum())
    )[0]
