"""What Arrow needs a hand with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_MOST_IN_32_BITS = 2**31 - 1


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array.

    Raises:
        ValueError: where one array cannot hold it, such as 2 GiB of strings.
    """
    combined = column.combine_chunks()
    if not isinstance(combined, pa.ChunkedArray):
        return combined
    if combined.num_chunks > 1:
        raise ValueError(f"expected a column that one array can hold, got {len(column)} rows of {column.type}")
    return combined.chunk(0) if combined.num_chunks else pa.array([], column.type)


def lists(offsets: np.ndarray, values: pa.Array) -> pa.ListArray | pa.LargeListArray:
    """Lists of `values` between `offsets`; with offsets of 64 bits only where 32 are too few."""
    if len(offsets) and offsets[-1] > _MOST_IN_32_BITS:
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists, of any of Arrow's layouts."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, in any of Arrow's layouts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def batches_of_groups(
    file: pq.ParquetFile, rows: int, groups: Iterable[int], columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """At most so many rows at a time, each from one row group: Arrow reads no lists of dictionaries across them."""
    for group in groups:
        yield from file.iter_batches(rows, row_groups=[group], columns=columns)
