"""The tables in a data set's folder, in Parquet: written, and read with every doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from tagnn_fast.data.arrow import lists, one_chunk
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary

_TITLES = {"raw_id": pa.string(), "title": pa.string()}


def write_sessions(sessions: Sessions, path: Path) -> None:
    """Write sessions to Parquet: ``items``, ``examples``, and ``time`` where it is known."""
    columns = {
        "items": lists(sessions.offsets.numpy(), pa.array(sessions.clicks.numpy())),
        "examples": sessions.examples.numpy(),
    }
    if sessions.times is not None:
        columns["time"] = sessions.times.numpy()
    write_table(pa.table(columns), path)


def read_sessions(path: Path, sha256: str | None) -> Sessions:
    """Read what :func:`write_sessions` wrote. Raises as :func:`read_table` does."""
    table = read_table(path, {"items": pa.list_(pa.int32()), "examples": pa.int64()}, sha256)
    items = one_chunk(table["items"])
    # A list array may be a window of a longer one: its offsets say where it begins.
    offsets = items.offsets.to_numpy().astype(np.int64)
    clicks = items.values.to_numpy()[offsets[0] : offsets[-1]]
    parts = [clicks, offsets - offsets[0], table["examples"].to_numpy()]
    if "time" in table.column_names:
        check_columns(path, table, {"time": pa.int64()})
        parts.append(table["time"].to_numpy())
    return Sessions(*(torch.from_numpy(np.require(part, requirements="W")) for part in parts))


def write_items(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary to Parquet: ``raw_id``, ``index``, ``count``, and ``title`` where there are any."""
    index = np.arange(1, len(vocabulary) + 1, dtype=np.int32)
    columns = {"raw_id": vocabulary.raw_ids, "index": index, "count": vocabulary.counts}
    write_table(pa.table(columns if vocabulary.titles is None else {**columns, "title": vocabulary.titles}), path)


def read_items(path: Path, sha256: str | None = None) -> Vocabulary:
    """Read what :func:`write_items` wrote.

    Args:
        path: of the file.
        sha256: of its bytes, where it is known.

    Raises:
        FileNotFoundError: where it is missing.
        ValueError: where it is damaged.
    """
    items = read_table(path, {"raw_id": None, "index": pa.int32(), "count": pa.int64()}, sha256)
    if not np.array_equal(items["index"].to_numpy(), np.arange(1, items.num_rows + 1)):
        raise ValueError(f"{path}: expected index to count from 1")
    try:
        titles = one_chunk(items["title"]) if "title" in items.column_names else None
        return Vocabulary(one_chunk(items["raw_id"]), items["count"].to_numpy(), titles)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def read_raw_test(path: Path, vocabulary: Vocabulary, sha256: str | None) -> pa.ListArray | pa.LargeListArray | None:
    """Raw ids of the test sessions, None where there are none. Raises as :func:`read_table` does."""
    if not path.exists():
        return None
    sessions = one_chunk(read_table(path, {"items": None}, sha256)["items"])
    if sessions.type not in (pa.list_(vocabulary.raw_ids.type), pa.large_list(vocabulary.raw_ids.type)):
        raise TypeError(f"{path}: expected lists of {vocabulary.raw_ids.type}, got {sessions.type}")
    return sessions


def write_titles(titles: Mapping[str, str], path: Path) -> None:
    """Write titles by raw id to Parquet: ``raw_id`` and ``title``, both strings."""
    write_table(pa.table({"raw_id": list(titles), "title": list(titles.values())}, pa.schema(_TITLES)), path)


def read_stored_titles(path: Path, vocabulary: Vocabulary, sha256: str | None) -> dict[str, str]:
    """Those of items with a row where an earlier version wrote the data set."""
    if path.exists():
        table = read_table(path, _TITLES, sha256)
        return dict(zip(table["raw_id"].to_pylist(), table["title"].to_pylist(), strict=True))
    if vocabulary.titles is None:
        return {}
    pairs = zip(vocabulary.raw_ids.to_pylist(), vocabulary.titles.to_pylist(), strict=True)
    return {str(raw_id): title for raw_id, title in pairs if title is not None}


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet whose damage is found."""
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_table(path: Path, types: Mapping[str, pa.DataType | None], sha256: str | None) -> pa.Table:
    """A Parquet file with these columns, of any type where None stands.

    Raises:
        FileNotFoundError: where it is missing.
        ValueError: where it is damaged, not of that SHA-256, or lacks a column.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected this file of the data set")
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{path}: damaged Parquet file: expected the SHA-256 that was recorded, got another")
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table, rows = file.read(), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged Parquet file: {' '.join(str(error).split())}") from None  # in one line
    if table.num_rows != rows:  # a schema that is damaged in the right place gives lists without rows
        raise ValueError(f"{path}: damaged Parquet file: expected {rows:,} rows, got {table.num_rows:,}")
    check_columns(path, table, types)
    return table


def check_columns(path: Path, table: pa.Table, types: Mapping[str, pa.DataType | None]) -> None:
    """Refuse a table without these columns, of another type, or with nulls in them.

    Raises:
        ValueError: naming the column.
    """
    for name, expected in types.items():
        found = table.schema.field(name).type if name in table.column_names else None
        wide = found is not None and pa.types.is_large_list(found)
        if found is None or expected not in (None, pa.list_(found.value_type) if wide else found):
            raise ValueError(f"{path}: expected a column {name!r} of {expected or 'ids'}, got {found or 'none'}")
        nulls = table[name].null_count
        if not nulls and (wide or pa.types.is_list(found)):
            nulls = pc.list_flatten(table[name]).null_count
        if nulls:
            raise ValueError(f"{path}: expected no nulls in {name!r}, got {nulls}")
