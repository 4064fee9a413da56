"""Clicks that are in memory as a log: written to Parquet, and read as any other Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.logs.files import LogFiles, check_columns, find_files
from tagnn_fast.logs.formats import LogFormat

FRAME = "frame"  # what messages call it


@runtime_checkable
class ArrowStream(Protocol):
    """What gives its rows as a stream of Arrow's C interface: data frames, Arrow tables, readers of record batches."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A PyCapsule with the stream."""


Logs = ArrowStream | str | Path | Sequence[str | Path]


@contextmanager
def found_logs(logs: Logs, form: LogFormat, folder: Path) -> Iterator[LogFiles]:
    """The files of a log, those of a frame in `folder`; errors in the block call such a file "frame".

    Raises:
        TypeError: where it is neither a frame nor paths, or a column of a frame is of no type that Parquet has.
        FileNotFoundError, ValueError: see :func:`find_files`.
    """
    if not isinstance(logs, ArrowStream):
        yield find_files(_patterns(logs), form)
        return
    path = (folder / f"{FRAME}.parquet").resolve()
    _write(logs, path, form)
    try:
        yield find_files([str(path)], form)
    except ValueError as error:
        error.args = (str(error).replace(str(path), FRAME), *error.args[1:])
        raise


def _patterns(logs: object) -> list[str]:
    patterns = [logs] if isinstance(logs, (str, Path)) else logs
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, (str, Path)) for pattern in patterns):
        raise TypeError(
            "logs: expected paths, or a data frame or table (with __arrow_c_stream__: pandas 2.2 or newer, polars, "
            f"pyarrow, ...), got {type(logs).__name__}"
        )
    return [str(pattern) for pattern in patterns]


def _write(frame: ArrowStream, path: Path, form: LogFormat) -> None:
    """The columns that the format names."""
    try:
        stream = pa.RecordBatchReader.from_stream(frame)
    except (pa.ArrowException, TypeError) as error:
        found = " ".join(map(str, error.args))
        raise TypeError(f"{FRAME}: expected columns of one type each, got others: {found}") from None
    names = stream.schema.names
    known = [form.aliases.get(name, name) for name in names]
    check_columns(FRAME, known, form)
    used = [name for name, meant in zip(names, known, strict=True) if meant in form.used_columns()]
    try:
        schema = pa.schema([stream.schema.field(name) for name in used])
        with pq.ParquetWriter(path, schema, compression="lz4") as writer:
            for batch in stream:
                writer.write_batch(batch.select(used))
    except pa.ArrowNotImplementedError as error:
        raise TypeError(f"{FRAME}: expected columns of types that Parquet has, got others: {error}") from None
