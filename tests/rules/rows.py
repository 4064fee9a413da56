"""The rules of `prepare logs`, three: what rows the files hold."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.rules.log import Log, Refused

COLUMNS = "wrong number of columns"
UNEQUAL = "lists of different lengths"
BYTE_ORDER_MARK = "\ufeff"


@dataclass
class Row:
    """Text of each used column, None where there is nothing; or why it cannot be used."""

    values: dict[str, str | None]
    fault: str | None = None


def rows_of(paths: Sequence[Path], log: Log) -> list[Row]:
    """Of all files, in the order of their names."""
    found = list[Row]()
    headers = set[tuple[str, ...]]()
    for path in sorted(paths):
        content = path.read_bytes()
        if content.startswith(b"PAR1"):
            found += _parquet(path, log)
        elif path.name.split(".")[1] == "jsonl":
            found += _json(content, log)
        else:
            names, rows = _text(content, log)
            headers.add(names)
            found += rows
    if len(headers) > 1:
        raise Refused("columns")
    return found


def lines_of(content: bytes, encoding: str) -> list[str | None]:
    """Lines without their ends; None for one that is no text. Not the byte order mark, nor blank lines at the top."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    elif content.startswith(b"\x28\xb5\x2f\xfd"):
        content = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
    lines: list[str | None] = []
    if encoding.startswith("utf-16"):
        lines += re.split("\r\n|\r|\n", content.decode(encoding))
    else:
        for line in re.split(rb"\r\n|\r|\n", content):
            try:
                lines.append(line.decode(encoding))
            except UnicodeDecodeError:
                lines.append(None)
    if lines and lines[0] is not None:
        lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
    while lines and lines[0] is not None and not lines[0].strip(" "):
        lines.pop(0)
    if lines and lines[-1] == "":
        lines.pop()
    return lines


def _text(content: bytes, log: Log) -> tuple[tuple[str, ...], Iterator[Row]]:
    lines = lines_of(content, log.encoding)
    rows = list[Row]()
    good = list[str]()
    for line in lines:
        if line is None or "\0" in line:
            unknown = f"not {log.encoding.upper()} (see --encoding)"
            rows.append(Row({}, "NUL in the line" if line is not None else unknown))
        else:
            good.append(line)
    names = log.columns
    if not names:
        if not lines or lines[0] is None or "\0" in lines[0]:
            raise Refused("columns")
        header = next(values_of("\n".join(good[:1]), log.separator, log.quote))
        assert isinstance(header, list)
        names = tuple(log.aliases.get(name.strip(), name.strip()) for name in header)
        good = good[1:]
    if any(names.count(name) != 1 for name in log.used()):
        raise Refused("columns")
    for values in values_of("\n".join(good), log.separator, log.quote, len(names)) if good else ():
        if isinstance(values, int):
            rows += [Row({}, COLUMNS)] * values
        elif not log.separator.join(values).strip(" \t"):
            continue  # blank
        elif len(values) == len(names):
            value = dict(zip(names, values, strict=True))
            rows.append(Row({name: value[name] or None for name in log.used()}))
        else:
            rows.append(Row({}, COLUMNS))
    return names, iter(rows)


def values_of(text: str, separator: str, quote: str, columns: int | None = None) -> Iterator[list[str] | int]:
    """The values of each row; of one that cannot be used for its quotes, how many lines it takes.

    A value may be in quotes, with quotes in it doubled, with blanks around. Others hold quotes like any character.
    """
    q = re.escape(quote or "\0")  # no line has that
    opened, quoted = re.compile(f" *{q}"), re.compile(f" *{q}((?:[^{q}]|{q}{q})*+){q}")
    end = re.compile(f" *(?={re.escape(separator)}|\n|\\Z)")
    place, first, values = 0, 0, list[str]()
    while True:
        value = ""
        if opened.match(text, place):
            found = quoted.match(text, place)
            if found is None and "\n" in text[first:]:
                raise Refused("quote")
            if found is None:  # it swallows nothing
                yield 1
                return
            value, place = found[1].replace(quote * 2, quote), found.end()
            if not (after := end.match(text, place)):
                place = (text + "\n").index("\n", place)
                if "\n" in text[first:place]:
                    raise Refused("quote")
                yield 1
                values, place, first = [], place + 1, place + 1
                if place > len(text):
                    return
                continue
            place = after.end()
        line, column = (text + "\n").index("\n", place), text.find(separator, place)
        if 0 <= column < line:
            values.append(value + text[place:column])
            place = column + len(separator)
            continue
        values.append(value + text[place:line])
        if "\n" not in text[first:line]:
            yield values
        elif len(values) == columns:
            yield text[first:line].count("\n") + 1
        else:
            raise Refused("quote")
        values, place, first = [], line + 1, line + 1
        if place > len(text):
            return


class _Fraction(str):
    __slots__ = ()


def _json(content: bytes, log: Log) -> Iterator[Row]:
    for line in lines_of(content, log.encoding):
        if line is None:
            yield Row({}, f"not {log.encoding.upper()} (see --encoding)")
        elif "\0" in line:
            yield Row({}, "NUL in the line")
        elif line.strip():
            yield from _json_line(line, log)


def _json_line(line: str, log: Log) -> list[Row]:
    def no_constant(name: str) -> None:
        raise ValueError

    try:
        value = json.loads(line, parse_int=str, parse_float=_Fraction, parse_constant=no_constant)
    except ValueError:
        return [Row({}, "no JSON object")]
    if not isinstance(value, dict):
        return [Row({}, "no JSON object")]
    found = {name: _lead(value, name) for name in log.used()}
    lengths = {len(values) for values in found.values() if isinstance(values, list)}
    if len(lengths) > 1:
        return [Row({}, UNEQUAL)]
    count = max(1, *lengths) if lengths else 1
    rows = []
    for number in range(count):
        values = {}
        for name, all_values in found.items():
            one = all_values
            if isinstance(all_values, list):
                one = all_values[number] if all_values else None
            if isinstance(one, bool) and name == log.event:
                one = str(one).lower()
            usable = isinstance(one, str) and (type(one) is str or name in (log.time, log.since_start))
            if one is not None and not usable:
                return [Row({}, f"{name} is neither text nor a number, or no integer where it is an id")]
            values[name] = str(one) if one else None
        half = any(re.search("[\ud800-\udfff]", text) for text in values.values() if text)
        rows.append(Row({}, "half a character") if half else Row(values))
    return rows


def _lead(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_lead(one, name) for one in value]
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    before, dot, after = name.partition(".")
    return _lead(value.get(before), after) if dot else None


def _parquet(path: Path, log: Log) -> Iterator[Row]:
    table = pq.read_table(path)
    table = table.rename_columns([log.aliases.get(name, name) for name in table.column_names])
    if any(table.column_names.count(name) != 1 for name in log.used()):
        raise Refused("columns")
    columns = {name: _cells(table[name]) for name in log.used()}
    lists = pa.types.is_list(table.schema.field(log.item).type)
    for number in range(table.num_rows):
        values = {name: column[number] for name, column in columns.items()}
        if not lists:
            yield Row({name: value or None for name, value in values.items()})
            continue
        spread = {name for name in values if pa.types.is_list(table.schema.field(name).type)}
        lengths = {len(values[name] or ()) for name in spread}
        if len(lengths) > 1:
            yield Row({}, UNEQUAL)
            continue
        for click in range(max(1, *lengths)):
            row = {}
            for name, value in values.items():
                one = value if name not in spread else value[click] if value else None
                row[name] = one or None
            yield Row(row)


def _cells(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        zone, per_second = column.type.tz, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
        times = column.cast(pa.int64()).to_pylist()
        return [None if time is None else _shown(time * 10**6 // per_second, zone) for time in times]
    if pa.types.is_list(column.type):
        return [None if cell is None else [_one(value) for value in cell] for cell in column.to_pylist()]
    return [_one(value) for value in column.to_pylist()]


def _one(value: Any) -> str | None:
    return None if value is None else str(value)


def _shown(microseconds: int, zone: str | None) -> str:
    """In the zone that the rules are given, or with Z."""
    time = datetime(1970, 1, 1) + timedelta(microseconds=microseconds)
    return time.isoformat(" ", "microseconds") + ("" if zone is None else "Z")
