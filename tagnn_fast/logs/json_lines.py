"""Logs with a JSON object in each line, of a click or of many."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tagnn_fast.logs import content
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.parquet import UNEQUAL, Rows

_CLICKS = 50_000  # that are given at once
_LONGEST = 1 << 24  # characters of a line, which may be a user's clicks of a year


class _Fraction(str):
    """A number with a fraction or an exponent, as it is written."""

    __slots__ = ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_int=str, parse_float=_Fraction, parse_constant=_no_constant)


def json_rows(files: LogFiles, names: Sequence[str]) -> Iterator[Rows]:
    """Clicks of JSON lines, many at once.

    Values of these names as text; why a line cannot be used, and the line, or null.

    A name with dots leads into objects, where the object has no value of the whole name. Through a list it leads into
    all its elements: `events.aid` of ``{"session": 1, "events": [{"aid": 5}, {"aid": 6}]}`` is 5 and 6. A line with
    lists is as many clicks, in order: all its lists have the same length, other values hold for all. An empty list is a
    click without an item. Numbers are taken as they are written. Where a key is there twice, the last one counts.
    A line cannot be used where it is no JSON object, where lists differ in length, where an id is anything but a text,
    an integer or null, a time but a text, a number or null, an event but a text, an integer, a boolean or null; where
    its text has half a character (a lone surrogate), or where it has more than 16,777,216 characters.

    Raises:
        ValueError: see :func:`tagnn_fast.logs.content.blocks`.
    """
    columns: list[list[str | None]] = [[] for _ in range(len(names) + 2)]

    def add(*row: str | None) -> None:
        for column, value in zip(columns, row, strict=True):
            column.append(value)

    nothing = [None] * len(names)
    read = _idomaar if files.kind == "idomaar" else _decoder.decode
    for path in files.paths:
        for whole, refused in content.lines(path, files.form.encoding, files.records, _LONGEST):
            for fault, line in refused:
                add(*nothing, fault, line)
            for line in whole.decode().split("\n"):
                if not line.strip():
                    continue
                try:
                    rows = _clicks(read(line), files.form, names)
                except (ValueError, RecursionError) as error:
                    fault = str(error) if isinstance(error, _UnusableError) else "no JSON object"
                    add(*nothing, fault, line[:1000])
                    continue
                for row in rows:
                    add(*row, None, None)
            if len(columns[0]) > _CLICKS:
                yield _arrays(columns)
    yield _arrays(columns)


class _UnusableError(ValueError):
    """Why a line cannot be used."""


def _idomaar(line: str) -> Any:
    """A line of 30Music: type, id and time with tabs between, then two objects, of which the second has the clicks."""
    kind, name, time, objects = line.split("\t", 3)
    properties, end = _decoder.raw_decode(objects)
    linked = _decoder.decode(objects[end:].lstrip())
    return {**properties, **linked, "type": kind, "id": name, "timestamp": time}


def _clicks(value: Any, form: LogFormat, names: Sequence[str]) -> Iterator[Sequence[str | None]]:
    if not isinstance(value, dict):
        raise _UnusableError("no JSON object")
    found = [_find(value, name) for name in names]
    lengths = {len(values) for values in found if isinstance(values, list)}
    if not lengths:
        return iter([[_text(one, name, form) for one, name in zip(found, names, strict=True)]])
    if len(lengths) > 1:
        raise _UnusableError(UNEQUAL)
    count = lengths.pop()
    # An object without a click in it stands for itself, with nothing in its lists.
    lists = [values or [None] if isinstance(values, list) else [values] * max(count, 1) for values in found]
    texts = [[_text(one, name, form) for one in values] for values, name in zip(lists, names, strict=True)]
    return zip(*texts, strict=True)


def _find(value: Any, name: str) -> Any:
    """What a name leads to."""
    if isinstance(value, list):
        return [_find(one, name) for one in value]
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    first, dot, rest = name.partition(".")
    return _find(value.get(first), rest) if dot else None


def _text(value: Any, name: str, form: LogFormat) -> str | None:
    if value is None or type(value) is str:
        return value
    if isinstance(value, _Fraction) and name in (form.time, form.since_start):
        return str(value)
    if isinstance(value, bool) and name == form.event:
        return "true" if value else "false"
    raise _UnusableError(f"{name} is neither text nor a number, or no integer where it is an id")


def _arrays(columns: list[list[str | None]]) -> Rows:
    """The clicks so far, which are forgotten."""
    try:
        arrays = [pa.array(column, pa.string()) for column in columns]
    except UnicodeEncodeError:  # halves of characters, which JSON can write
        *fields, faults, lines = columns
        for place, row in enumerate(zip(*fields, strict=True)):
            if not all(_is_text(value) for value in row if value is not None):
                faults[place] = "half a character"
                lines[place] = " ".join(value or "" for value in row).encode(errors="replace").decode()[:1000]
                for column in fields:
                    column[place] = None
        arrays = [pa.array(column, pa.string()) for column in columns]
    for column in columns:
        column.clear()
    *fields_of, fault, line = arrays
    return fields_of, fault, line


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
