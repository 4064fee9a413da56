"""Files of sessions to recommend for, and of what was recommended: Parquet or CSV."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tagnn_fast.data.arrow import one_chunk
from tagnn_fast.files import replaced_file


def read_session_file(path: Path) -> tuple[pa.Array, pa.ListArray]:
    """Names and raw item ids of sessions.

    Args:
        path: Parquet with a list column ``items``, or CSV with ids separated by spaces in it. A column ``session``
            names them; without it they are numbered from 0.

    Returns:
        The names, and the items as lists (of strings from CSV).

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on another kind of file, a damaged one, or one without such a column ``items``.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file of sessions")
    parquet = _is_parquet(path)
    try:
        if parquet:
            table = pq.read_table(path)
        else:
            options = pyarrow.csv.ConvertOptions(column_types={"items": pa.string(), "session": pa.string()})
            table = pyarrow.csv.read_csv(path, convert_options=options)
        columns = table.column_names
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: expected sessions, got a damaged file: {error}") from None
    if columns.count("items") != 1 or columns.count("session") > 1:
        raise ValueError(f"{path}: expected a column 'items', got {', '.join(columns) or 'none'}")
    items = one_chunk(table["items"])
    if not parquet:
        items = pa.array([line.split() for line in items.to_pylist()], pa.list_(pa.string()))
    if isinstance(items, pa.LargeListArray):
        items = items.cast(pa.list_(items.type.value_type))
    if not isinstance(items, pa.ListArray) or items.null_count or items.values.null_count:
        raise ValueError(f"{path}: expected a list of ids in every row of 'items', got {items.type} or nulls")
    names = one_chunk(table["session"]) if "session" in table.column_names else pa.array(np.arange(len(items)))
    return names, items


class TableWriter:
    """Writes tables one after the other into a Parquet or CSV file, which is there when all are, and not before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kind = pq.ParquetWriter if _is_parquet(path) else pyarrow.csv.CSVWriter
        self._writer: pq.ParquetWriter | pyarrow.csv.CSVWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> TableWriter:
        return self

    def write(self, table: pa.Table) -> None:
        """Append a table; all have the first one's columns."""
        if self._writer is None:
            temporary = self._open.enter_context(replaced_file(self._path))
            self._writer = self._open.enter_context(self._kind(str(temporary), table.schema))
        self._writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path}: expected a name that ends in .parquet or .csv")
    return path.suffix == ".parquet"
