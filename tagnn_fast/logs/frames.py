"""Clicks that are in memory as a log: written to Parquet, and read as any other Parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tagnn_fast.data.arrow import lists
from tagnn_fast.logs.files import LogFiles, check_columns, find_files
from tagnn_fast.logs.formats import LogFormat

_FRAMES = {"logs": "frame", "test_logs": "test frame"}  # what messages call them


@runtime_checkable
class ArrowStream(Protocol):
    """What gives its rows as a stream of Arrow's C interface: data frames, Arrow tables, readers of record batches."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A PyCapsule with the stream."""


@runtime_checkable
class SupportsColumns(Protocol):
    """A data frame that gives some of its columns by their names."""

    def __getitem__(self, names: list[str], /) -> ArrowStream:
        """Those columns."""


Logs = ArrowStream | str | Path | Sequence[str | Path]


@contextmanager
def found_logs(
    logs: Logs, form: LogFormat, folder: Path, argument: Literal["logs", "test_logs"] = "logs"
) -> Iterator[LogFiles]:
    """The files of a log, those of a frame in `folder`; errors in the block call such a file "frame", or "test frame".

    Raises:
        TypeError: where it is neither a frame nor paths, or a column of a frame is of no type that Parquet has.
        FileNotFoundError, ValueError: see :func:`find_files`.
    """
    if not isinstance(logs, ArrowStream):
        yield find_files(_patterns(logs, argument), form)
        return
    name = _FRAMES[argument]
    path = (folder / f"{name}.parquet").resolve()
    _write(logs, path, form, name)
    try:
        yield find_files([str(path)], form)
    except ValueError as error:
        error.args = (str(error).replace(str(path), name), *error.args[1:])
        raise


def _patterns(logs: object, argument: str) -> list[str]:
    patterns = [logs] if isinstance(logs, (str, Path)) else logs
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, (str, Path)) for pattern in patterns):
        raise TypeError(
            f"{argument}: expected paths, or a data frame or table (with __arrow_c_stream__: pandas 2.2 or newer, "
            f"polars, pyarrow, ...), got {type(logs).__name__}"
        )
    if not patterns:
        raise ValueError(f"{argument}: expected one path or more, got none")
    return [os.path.expanduser(pattern) for pattern in patterns]


def _write(frame: ArrowStream, path: Path, form: LogFormat, called: str) -> None:
    """The columns that the format names."""
    try:
        stream = _stream(frame, form)
    except (pa.ArrowException, TypeError) as error:
        found = " ".join(map(str, error.args))
        raise TypeError(f"{called}: expected columns of one type each, got others: {found}") from None
    except ValueError as error:  # pandas, of columns with the same name
        raise ValueError(f"{called}: expected columns of different names, got others: {error}") from None
    names = stream.schema.names
    known = form.meant(names)
    check_columns(called, known, form)
    used = [name for name, meant in zip(names, known, strict=True) if meant in form.used_columns()]
    try:
        batches = (pa.RecordBatch.from_arrays([_plain(batch[name]) for name in used], used) for batch in stream)
        first = next(batches, pa.RecordBatch.from_arrays([pa.nulls(0)] * len(used), used))
        with pq.ParquetWriter(path, first.schema, compression="lz4") as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise TypeError(f"{called}: expected columns of types that Parquet has, got others: {error}") from None


def _stream(frame: ArrowStream, form: LogFormat) -> pa.RecordBatchReader:
    """The rows; of a data frame that Arrow refuses, those columns that the format names."""
    try:
        return pa.RecordBatchReader.from_stream(frame)
    except (pa.ArrowException, TypeError):
        names = [name for name in getattr(frame, "columns", ()) if isinstance(name, str)]
        used = [name for name in names if form.meant([name])[0] in form.used_columns()]
        if len(used) == len(names) or not isinstance(frame, SupportsColumns):
            raise
        return pa.RecordBatchReader.from_stream(frame[used])


def _plain(values: pa.Array) -> pa.Array:
    """The same without views of text, which not every Parquet writer takes; a null list is empty, as for readers."""
    kind = values.type
    if pa.types.is_string_view(kind):
        return values.cast(pa.large_string())
    if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
        return pa.DictionaryArray.from_arrays(values.indices, _plain(values.dictionary))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        return lists(np.concatenate([[0], lengths.cumsum()]), _plain(pc.list_flatten(values)))
    return values
