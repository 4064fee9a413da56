"""Files of sessions to recommend for: CSV, JSON lines or Parquet, read in parts, each row by itself."""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tagnn_fast.data.arrow import batches_of_groups, is_list, is_text

SUFFIXES = (".csv", ".jsonl", ".parquet")

PART = 512  # sessions that are read, and scored, together

_BUFFER = 1 << 20  # bytes of a column that are read at once
_LONGEST = 1 << 24  # characters of a line: a row must fit into the memory, whatever the file
_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of characters, or what is made of a byte that is no UTF-8
_CELL = r'(?:"[^"]*(?:""[^"]*)*"|[^",]*)'
_CELLS = re.compile(f"{_CELL}(?:,{_CELL})*")


class SessionPart(NamedTuple):
    """Some of a file's sessions, in its order.

    Attributes:
        names: of the sessions, of one type in the whole file.
        items: their raw item ids, strings and integers; empty where there is an error.
        errors: why a row cannot be used, None where it can.
        places: where in the file each row is, for people.
        first: number of the first of them.
    """

    names: pa.Array
    items: list[list[Any]]
    errors: list[str | None]
    places: list[str]
    first: int


class _Row(NamedTuple):
    name: str | int | None  # None: its number
    items: list[Any]
    error: str | None
    place: str


def count_sessions(path: Path) -> int | None:
    """How many sessions a Parquet file has; None of other files, which say so when they have been read.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_sessions`.
    """
    _check_file(path)
    if path.suffix != ".parquet":
        return None
    with path.open("rb") as source, _damages(path):
        return int(pq.ParquetFile(source).metadata.num_rows)


def read_sessions(path: Path, rows: int = PART, first: int = 0, end: int | None = None) -> Iterator[SessionPart]:
    """The sessions of a file, so many at a time; one part without any where there is none.

    Every row of the file is a session or has an error of its own. They are numbered from 0; the number is the name of
    those that have none.

    - CSV, UTF-8, a header and then a row per line, so no line breaks in quotes: ids in the column ``items``, and maybe
      names, text, in ``session``. A cell of ids that begins with ``[``, after spaces, is a JSON list of strings and
      integers, and an error if it is not; an id that itself begins so can be given in such a list. In any other cell
      there are spaces or tabs between ids. A blank line is a session without clicks, and has no name.
    - JSON lines, UTF-8: a list of ids in each line, or an object with such a list as ``items`` and maybe a name, string
      or integer, as ``session``. A blank line is a session without clicks, and has no name. Names are integers if all
      are, else text.
    - Parquet: lists of integers or strings, of any width, dictionary-encoded or not, as ``items``, and maybe a column
      ``session`` of names: integers, text, or what is shown as text. A null in place of a list is an error, as is a
      null in one.

    Args:
        path: of the file.
        rows: sessions of each part but the last.
        first: number of the first session to read, for a Parquet file.
        end: number of the first that is not to be read, for a Parquet file; None to read all.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on another kind of file, a folder or a pipe, a header or schema without such a column ``items``, or
            a Parquet file that is damaged, whose rows cannot be told apart; on some sessions of another kind of file.
    """
    _check_file(path)
    if path.suffix == ".parquet":
        yield from _parquet_parts(path, rows, first, end)
        return
    if first or end is not None:
        raise ValueError(f"{path}: expected a Parquet file to read some sessions of, got another kind")
    if path.suffix == ".csv":
        named, found = _csv_rows(path)
        yield from _parts(found, pa.string() if named else pa.int64(), rows)
    else:
        integers = all(isinstance(row.name, int | None) for row in _json_rows(path))
        yield from _parts(_json_rows(path), pa.int64() if integers else pa.string(), rows)


def _check_file(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file of sessions")
    if not path.is_file():  # they are read twice, or from their end
        raise ValueError(f"{path}: expected a file of sessions, got a folder or a pipe")


def _parts(found: Iterator[_Row], name_type: pa.DataType, rows: int) -> Iterator[SessionPart]:
    part = list(islice(found, rows))
    number = 0
    while part or number == 0:
        names = [number + place if row.name is None else row.name for place, row in enumerate(part)]
        yield SessionPart(
            pa.array(names if name_type == pa.int64() else map(str, names), name_type),
            [row.items for row in part],
            [row.error for row in part],
            [row.place for row in part],
            number,
        )
        number += rows
        part = list(islice(found, rows))


def _lines(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """Of each line where it is, its text, and why it cannot be read."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        number = 0
        while line := file.readline(_LONGEST):
            number += 1
            error = None
            if len(line) == _LONGEST and not line.endswith("\n"):
                while (rest := file.readline(_LONGEST)) and not rest.endswith("\n"):
                    pass
                line, error = "", f"expected a line of less than {_LONGEST:,} characters, got a longer one"
            elif undecodable := _SURROGATE.search(line):
                error = f"expected UTF-8, got the byte 0x{ord(undecodable[0]) - 0xDC00:02x}"
            yield f"line {number}", line.removesuffix("\n"), error


def _csv_rows(path: Path) -> tuple[bool, Iterator[_Row]]:
    """Whether rows have names, and the rows."""
    lines = _lines(path)
    columns: list[str] = []
    for _, line, error in lines:
        if error is not None:
            raise ValueError(f"{path}: expected a column 'items': {error}")
        if line.strip():
            with suppress(ValueError):
                columns = _cells(line)
            break
    if columns.count("items") != 1 or columns.count("session") > 1:
        raise ValueError(f"{path}: expected a column 'items', got {_cut(', '.join(columns)) or 'none'}")
    return "session" in columns, (_csv_row(columns, *line) for line in lines)


def _csv_row(columns: list[str], place: str, line: str, error: str | None) -> _Row:
    if not line.strip():
        return _Row(None, [], error, place)
    name = None
    items: list[Any] = []
    try:
        cells = _cells(line)
        ragged = len(cells) != len(columns)
        place_of = {column: place for place, column in enumerate(columns)}
        if "session" in place_of and (not ragged or place_of["session"] < min(place_of["items"], len(cells))):
            found = cells[place_of["session"]]  # of a ragged row too, where the ids come behind it
            name = None if _SURROGATE.search(found) else found
        if ragged:
            raise ValueError(f"expected {len(columns)} columns, got {len(cells)}")
        if error is None:
            items = _ids_of_cell(cells[place_of["items"]])
    except ValueError as wrong:
        error = error or str(wrong)
    return _Row(name, items, error, place)


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    if not _CELLS.fullmatch(line):
        raise ValueError("expected quotes around whole cells, doubled inside them, on one line")
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # 128 KiB otherwise
    return next(csv.reader([line]))


def _ids_of_cell(cell: str) -> list[Any]:
    if cell.lstrip(" \t").startswith("["):
        return _ids(_json(cell))
    return [raw_id for raw_id in cell.replace("\t", " ").split(" ") if raw_id]


def _json_rows(path: Path) -> Iterator[_Row]:
    for place, line, error in _lines(path):
        name = None
        items: list[Any] = []
        if error is None and line.strip():
            try:
                value = _json(line)
                if isinstance(value, dict):
                    name = _name(value.get("session"))
                    if "items" not in value:
                        raise ValueError("expected 'items' in the object, got none")
                    value = value["items"]
                items = _ids(value)
            except ValueError as found:
                error = str(found)
        yield _Row(name, items, error, place)


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("expected JSON, got a value nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, got {_cut(text)} ({error.msg} at character {error.pos + 1})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("expected every key of an object once, got one twice")
    return value


def _name(value: object) -> str | int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError(f"expected a string or an integer as 'session', got {_shown(value)}")
    if isinstance(value, str) and _SURROGATE.search(value):
        raise ValueError(f"expected whole characters in 'session', got {_shown(value)}")
    return value if isinstance(value, str | None) or -(2**63) <= value < 2**63 else str(value)


def _ids(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of item ids, got {_shown(value)}")
    for raw_id in value:
        if isinstance(raw_id, bool) or not isinstance(raw_id, str | int):
            raise ValueError(f"expected item ids that are strings or integers, got {_shown(raw_id)}")
    return value


def _shown(value: object) -> str:
    try:
        return _cut(json.dumps(value))
    except RecursionError:
        return "deeply nested lists"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _parquet_parts(path: Path, rows: int, first: int, end: int | None) -> Iterator[SessionPart]:
    with path.open("rb") as source, _damages(path):
        # Through a buffer: a row group may be all of a large file.
        file = pq.ParquetFile(source, page_checksum_verification=True, buffer_size=_BUFFER)
        named = _check_columns(path, file.schema_arrow)
        name_type = _name_type(file.schema_arrow.field("session").type) if named else pa.int64()
        number = first
        for batch in _rows_between(file, ["session", "items"] if named else ["items"], rows, first, end):
            names = pa.array(range(number, number + len(batch)), pa.int64())
            if named:
                names = pc.coalesce(batch["session"].cast(name_type), names.cast(name_type))
            yield _part(names, batch["items"].to_pylist(), number)
            number += len(batch)
        if number == first:
            yield _part(pa.array([], name_type), [], number)


def _rows_between(
    file: pq.ParquetFile, columns: list[str], rows: int, first: int, end: int | None
) -> Iterator[pa.RecordBatch]:
    """Some rows of a file, exactly so many at a time until there are no more."""
    metadata = file.metadata
    end = metadata.num_rows if end is None else min(end, metadata.num_rows)
    ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
    groups = range(bisect_right(ends, first), min(bisect_left(ends, end) + 1, len(ends)))
    skip, left = first - (ends[groups[0] - 1] if groups and groups[0] else 0), end - first
    held: list[pa.RecordBatch] = []
    for batch in batches_of_groups(file, rows, groups, columns) if left > 0 else ():
        batch = pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], batch.schema.names)
        batch.validate(full=True)  # so that strings are UTF-8, for one
        skipped = min(skip, len(batch))
        batch = batch.slice(skipped, left)
        skip, left = skip - skipped, left - len(batch)
        held.append(batch)
        while sum(map(len, held)) >= rows:
            whole = pa.concat_batches(held)
            yield whole.slice(0, rows)
            held = [whole.slice(rows)]
        if left == 0:
            break
    if any(map(len, held)):
        yield pa.concat_batches(held)


def _plain(column: pa.Array) -> pa.Array:
    """Lists of values in place of lists of a dictionary's numbers, which Arrow does not join."""
    if is_list(column.type) and pa.types.is_dictionary(column.type.value_type):
        return column.cast(pa.large_list(column.type.value_type.value_type))
    return column


def _name_type(kind: pa.DataType) -> pa.DataType:
    """What names of a column's type are; a session's number fits into it, too."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(kind):
        return kind if kind.bit_width >= 32 else pa.int64()
    return kind if pa.types.is_large_string(kind) else pa.string()


@contextmanager
def _damages(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, which may go by; Arrow's have no number
        raise ValueError(f"{path}: expected sessions, got a damaged file: {error}") from None


def _part(names: pa.Array, lists: list[list[Any] | None], number: int) -> SessionPart:
    errors: list[str | None] = []
    for items in lists:
        found = "null" if items is None else "a null among them" if None in items else None
        errors.append(f"expected a list of item ids, got {found}" if found else None)
    usable = [items if items and error is None else [] for items, error in zip(lists, errors, strict=True)]
    return SessionPart(names, usable, errors, [f"row {number + place}" for place in range(len(lists))], number)


def _check_columns(path: Path, schema: pa.Schema) -> bool:
    """Whether sessions have names."""
    if schema.names.count("items") != 1 or schema.names.count("session") > 1:
        raise ValueError(f"{path}: expected a column 'items', got {', '.join(schema.names) or 'none'}")
    kind = schema.field("items").type
    if not is_list(kind) or not _is_id(kind.value_type):
        raise ValueError(f"{path}: expected lists of integers or strings in 'items', got {kind}")
    named = "session" in schema.names
    if named and pa.types.is_nested(schema.field("session").type):
        raise ValueError(f"{path}: expected names in 'session', got {schema.field('session').type}")
    return named


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))
