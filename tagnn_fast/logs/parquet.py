"""Parquet logs as text: each type is right, or refused by name; alike for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tagnn_fast.data.arrow import batches_of_groups, is_list, is_text
from tagnn_fast.logs.files import LogFiles, parquet_columns
from tagnn_fast.logs.formats import LogFormat

_BATCH = 1 << 17  # rows of a file that are turned into text at once
Rows = tuple[list[pa.Array], pa.Array, pa.Array]  # columns, faults, lines
UNEQUAL = "lists of different lengths"


def parquet_rows(files: LogFiles, names: Sequence[str]) -> Iterator[Rows]:
    """Rows of Parquet files, many at once.

    The files have been hashed. The columns of these names as text; why a row cannot be used, and its line, or null.

    A row whose item is a list is as many clicks, in order: other columns hold for all of them, or are lists of the same
    length. An empty list is a click without an item.

    Raises:
        ValueError: on a column of a type that does not say what it should, and on a damaged file.
    """
    for path in files.paths:
        if files.records[path].described["bytes"] == 0:
            continue
        try:
            # Old writers' times of 96 bits are instants, whatever they look like; and they may be far away.
            file = pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit="us")
            columns = parquet_columns(path, files.form)
            places = [columns.index(name) for name in names]
            for name, place in zip(names, places, strict=True):
                _check(path, files.form, name, file.schema_arrow.field(place).type)
            wanted = [file.schema_arrow.names[place] for place in places]
            instants = _old_instants(file)
            for batch in batches_of_groups(file, _BATCH, range(file.num_row_groups), wanted):
                values = [batch.column(batch.schema.get_field_index(name)) for name in wanted]
                values = [
                    value.cast(_in_utc(value.type)) if place in instants else value
                    for place, value in zip(places, values, strict=True)
                ]
                fields, fault = _clicks(values, files.form, names)
                yield fields, fault, pa.nulls(len(fault), pa.string())
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: expected a whole Parquet file, got a damaged one: {error}") from None


def _old_instants(file: pq.ParquetFile) -> set[int]:
    """Places of columns with times of 96 bits, by themselves or in lists."""
    old, leaf = set(), 0
    for place, field in enumerate(file.schema_arrow):
        if file.schema.column(leaf).physical_type == "INT96" and _leaves(field.type) == 1:
            old.add(place)
        leaf += _leaves(field.type)
    return old


def _leaves(kind: pa.DataType) -> int:
    """Columns of a Parquet file that a column of this type takes."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or kind.num_fields == 0:
        return 1
    return sum(_leaves(kind.field(child).type) for child in range(kind.num_fields))


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """The type of the same times, or lists of them, as instants."""
    return pa.list_(_in_utc(kind.value_type)) if is_list(kind) else pa.timestamp("us", "UTC")


def _check(path: str, form: LogFormat, name: str, kind: pa.DataType) -> None:
    """Refuse a type that does not say what the column should."""
    single = _plain(kind)
    if is_list(single):
        if name in (form.owner, form.user) or not is_list(_plain(_type_of_item(path, form))):
            raise ValueError(f"{path}: expected a value in a row of {name!r}, got {kind}: only items may be lists")
        single = _plain(single.value_type)
    if name == form.time:
        # In float32, seconds since 1970 are off by up to two minutes.
        number = pa.types.is_integer(single) or pa.types.is_decimal(single) or pa.types.is_float64(single)
        day = pa.types.is_timestamp(single) or pa.types.is_date(single)
        if day and (form.time_unit != "iso" or form.time_format is not None):
            said = f"text in {name!r}, as --time-format says" if form.time_format is not None else None
            said = said or f"numbers in {name!r}, as --time-unit {form.time_unit} says"
            raise ValueError(f"{path}: expected {said}, got {kind}; leave the option away")
        good, expected = number or day, "times, text or exact numbers"
    elif name == form.since_start:
        good, expected = pa.types.is_integer(single) or pa.types.is_floating(single), "numbers or text"
    elif name == form.event:
        good, expected = pa.types.is_integer(single) or pa.types.is_boolean(single), "text, integers or booleans"
    else:
        whole = pa.types.is_decimal(single) and single.scale == 0
        good = pa.types.is_integer(single) or whole or single == pa.uuid()
        expected = "integers or strings"
    if not (good or is_text(single) or pa.types.is_null(single)):
        raise ValueError(f"{path}: expected {expected} in {name!r}, got {kind}")


def _type_of_item(path: str, form: LogFormat) -> pa.DataType:
    return pq.read_schema(path).field(parquet_columns(path, form).index(form.item)).type


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _clicks(values: list[pa.Array], form: LogFormat, names: Sequence[str]) -> tuple[list[pa.Array], pa.Array]:
    values = [value.dictionary_decode() if pa.types.is_dictionary(value.type) else value for value in values]
    item = values[names.index(form.item)]
    count = len(item)
    if not is_list(item.type):
        return [_text(value) for value in values], pa.nulls(count, pa.string())
    lengths = _lengths(item)
    unequal = np.zeros(count, bool)
    for value in values:
        if is_list(value.type):
            unequal |= _lengths(value) != lengths
    # A row without a click in it stands for itself, with nothing in its lists.
    rows = np.repeat(np.arange(count), np.where(unequal, 1, np.maximum(lengths, 1)))
    none = unequal | (lengths == 0)
    spread = []
    for value in values:
        if not is_list(value.type):
            spread.append(_text(value).take(pa.array(rows)))
            continue
        begins = np.concatenate([[0], _lengths(value).cumsum()])
        within = np.arange(len(rows)) - np.searchsorted(rows, rows)  # which click of its row
        places = pa.array(begins[rows] + within, mask=none[rows])
        spread.append(_text(pc.list_flatten(value)).take(places))
    fault = pc.if_else(pa.array(unequal[rows]), UNEQUAL, pa.scalar(None, pa.string()))
    return spread, fault


def _lengths(value: pa.Array) -> np.ndarray:
    """Of each list; 0 where there is none."""
    lengths = pc.fill_null(pc.list_value_length(value), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, np.int64)


def _text(values: pa.Array) -> pa.Array:
    """Times as ISO text, instants with Z; numbers with a fraction in decimals, those of no fraction without."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _text(values.dictionary_decode())
    if kind == pa.uuid():
        texts = [None if value is None else str(UUID(bytes=value)) for value in values.storage.to_pylist()]
        return pa.array(texts, pa.string())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pc.binary_join_element_wise(values.cast(pa.timestamp(kind.unit)).cast(pa.string()), "Z", "")
    if pa.types.is_date(kind):
        return values.cast(pa.date32()).cast(pa.string())
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        fits = pc.less(pc.abs(values), 1e15)  # false for infinite ones, and for NaN
        decimals = pc.if_else(fits, values, None).cast(pa.decimal128(21, 6), safe=False).cast(pa.string())
        decimals = pc.replace_substring_regex(decimals, r"\.0+$", "")
        return pc.coalesce(decimals, values.cast(pa.string()))
    return values.cast(pa.string())
