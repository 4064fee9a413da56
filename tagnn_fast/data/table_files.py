"""Tables out: into a CSV, JSON lines or Parquet file, part by part."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tagnn_fast.files import replaced_file


class _JsonLinesWriter:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file, self._schema = file, schema

    def __enter__(self) -> _JsonLinesWriter:
        return self

    def write_table(self, table: pa.Table) -> None:
        for row in table.cast(self._schema).to_pylist():
            self._file.write((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode())

    def __exit__(self, *_: object) -> None:
        pass


_KINDS = {".csv": pyarrow.csv.CSVWriter, ".jsonl": _JsonLinesWriter, ".parquet": pq.ParquetWriter}


class TableWriter:
    """Writes tables one after the other into a file, which is there when all are, and not before.

    Args:
        path: its name ends in .csv, .jsonl (an object per row, null where there is nothing) or .parquet.

    Raises:
        ValueError: where it ends otherwise.
        FileNotFoundError: where there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in _KINDS:
            raise ValueError(f"{path}: expected a name that ends in .csv, .jsonl or .parquet")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: expected to write into a folder that is there")
        self._path = path
        self._writer: pq.ParquetWriter | pyarrow.csv.CSVWriter | _JsonLinesWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> TableWriter:
        return self

    def write(self, table: pa.Table) -> None:
        """Append a table; all have the first one's columns."""
        if self._writer is None:
            temporary = self._open.enter_context(replaced_file(self._path))
            file = self._open.enter_context(temporary.open("wb"))  # opened here: Arrow refuses odd bytes in a path
            self._writer = self._open.enter_context(_KINDS[self._path.suffix](file, table.schema))
        self._writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)
