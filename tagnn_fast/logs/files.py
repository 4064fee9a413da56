"""The files of a log: which they are, and what their columns are called."""

from __future__ import annotations

import csv
import glob
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.files import describe_file
from tagnn_fast.logs.formats import LogFormat

_MOST_HEADER = 1 << 20  # bytes of a first line


@dataclass(frozen=True)
class LogFiles:
    """Files of one log, in the order of their names.

    Attributes:
        paths: absolute.
        columns: their columns, all of them.
        header: whether the first line of a text file names them.
        parquet: whether they are Parquet; they are text otherwise, maybe compressed by gzip or zstd.
        separator: between columns of text.
        quote: around values of text; may be empty.
    """

    paths: list[str]
    columns: tuple[str, ...]
    header: bool
    parquet: bool
    separator: str
    quote: str

    @cached_property
    def described(self) -> list[dict[str, Any]]:
        """Name, size and SHA-256 of each file."""
        return [describe_file(Path(path)) for path in self.paths]


def find_files(patterns: Sequence[str], form: LogFormat) -> LogFiles:
    """The files that paths and globs name.

    Raises:
        FileNotFoundError: where one names none.
        ValueError: on an empty file, files with different columns, or without a column that `form` names.
    """
    paths = sorted({str(Path(path).resolve()) for pattern in patterns for path in _matches(pattern)})
    parquet = all(path.endswith(".parquet") for path in paths)
    if not parquet and any(path.endswith(".parquet") for path in paths):
        raise ValueError("logs: expected Parquet files or text files, got both")
    header = not parquet and not form.columns
    columns: tuple[str, ...] | None = None
    for path in paths:
        found = _parquet_columns(path, form) if parquet else _text_columns(path, form, header)
        if columns is not None and found != columns:
            raise ValueError(
                f"{path}: expected the columns of {paths[0]}, {', '.join(columns)}; got {', '.join(found)}"
            )
        columns = found
    assert columns is not None
    for name in form.used_columns():
        if columns.count(name) != 1:
            raise ValueError(f"{paths[0]}: expected one column {name!r}, got {', '.join(columns)}")
    return LogFiles(paths, columns, header, parquet, form.separator, form.quote)


def _matches(pattern: str) -> list[str]:
    found = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)
    files = [path for path in found if Path(path).is_file()]
    if not files:
        raise FileNotFoundError(f"{pattern}: expected a file, or a pattern that files match, got none")
    return files


def _parquet_columns(path: str, form: LogFormat) -> tuple[str, ...]:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: expected a Parquet file, got {error}") from None
    for field in schema:
        if field.name in (form.owner, form.item) and pa.types.is_floating(field.type):
            raise ValueError(f"{path}: expected integers or strings in {field.name!r}, got {field.type}")
    return tuple(schema.names)


def _text_columns(path: str, form: LogFormat, header: bool) -> tuple[str, ...]:
    first = _first_line(path)
    if not first.strip():
        raise ValueError(f"{path}: expected clicks, got an empty file")
    if not header:
        return form.columns
    quotes: dict[str, Any] = {"quotechar": form.quote} if form.quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(first), delimiter=form.separator, **quotes)
    try:
        return tuple(name.strip() for name in next(reader))
    except csv.Error as error:
        raise ValueError(f"{path}: expected the names of the columns in the first line, got {error}") from None


def _first_line(path: str) -> str:
    try:
        with pa.input_stream(path, compression="detect") as stream:  # by the name's ending
            content = stream.read(_MOST_HEADER)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: expected text, plain or compressed by gzip or zstd, got {error}") from None
    line: bytes = content.split(b"\n", 1)[0]
    try:
        return line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8, got something else in its first line") from None
