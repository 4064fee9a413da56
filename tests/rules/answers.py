"""The rules of `recommend --input`: which rows a file of sessions has, and what each is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

LIST_OF_IDS = re.compile(r"[ \t]*\[")


@dataclass
class Row:
    """A row of the file: the names that it may have, and its ids; None where it cannot be used."""

    names: list[Any]
    ids: list[Any] | None


@dataclass
class Answer:
    """What a row is answered: by the model, by popularity or with an error."""

    names: list[Any]
    kind: str
    skipped: int | None = None
    count: int = 0
    excluded: set[int] = field(default_factory=set)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # of all items


def rows_of(path: Path) -> list[Row]:
    """Of CSV, JSON lines or Parquet."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        names = table["session"].to_pylist() if "session" in table.column_names else range(table.num_rows)
        ids = table["items"].to_pylist()
        return [Row([name], None if own is None or None in own else own) for name, own in zip(names, ids, strict=True)]
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\r|\n", content)
    if lines[-1] == b"":
        lines.pop()
    if path.suffix == ".csv":
        while not lines[0].strip():
            lines.pop(0)
        columns = cells_of(lines.pop(0).decode()) or []
        rows = [of_csv(line, number, columns) for number, line in enumerate(lines)]
        named = "session" in columns
    else:
        rows = [of_json(line, number) for number, line in enumerate(lines)]
        named = any(isinstance(name, str) for row in rows for name in row.names)
    for row in rows:
        row.names = [str(name) if named else name for name in row.names]
    return rows


def of_csv(line: bytes, number: int, columns: list[str]) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Row([*(cells_of(line.decode(errors="replace")) or ()), number], None)
    if not text.strip():
        return Row([number], [])
    cells = cells_of(text)
    if cells is None or len(cells) != len(columns):
        return Row([*(cells or ()), number], None)
    value = dict(zip(columns, cells, strict=True))
    names = [value["session"]] if "session" in columns else [number]
    if LIST_OF_IDS.match(value["items"]):
        return Row(names, ids_of_json(value["items"]))
    return Row(names, [part for part in value["items"].replace("\t", " ").split(" ") if part])


def cells_of(line: str) -> list[str] | None:
    """Quotes are around whole cells, doubled inside; None where they are not."""
    cells, rest = list[str](), line
    while True:
        if rest.startswith('"'):
            found = re.match(r'"((?:[^"]|"")*)"(,|$)', rest)
            if not found:
                return None
            cells.append(found[1].replace('""', '"'))
            rest = rest[found.end() - len(found[2]) :]
        else:
            cell = rest.split(",", 1)[0]
            if '"' in cell:
                return None
            cells.append(cell)
            rest = rest[len(cell) :]
        if not rest:
            return cells
        rest = rest[1:]


def of_json(line: bytes, number: int) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Row([number], None)
    if not text.strip():
        return Row([number], [])
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: pairs and Pairs(pairs))
    except ValueError:
        return Row([number], None)
    if isinstance(value, Pairs):
        keys = [key for key, _ in value.pairs]
        inside = dict(value.pairs)
        name = inside.get("session")
        usable_name = (
            name is None or type(name) is int or (isinstance(name, str) and not re.search("[\ud800-\udfff]", name))
        )
        if type(name) is int and not -(2**63) <= name < 2**63:
            name = str(name)
        names = [name] if usable_name and name is not None else [number]
        if len(set(keys)) != len(keys):
            return Row([*names, number], None)
        return Row(names, ids_or_none(inside.get("items")) if usable_name else None)
    return Row([number], ids_or_none(value))


@dataclass
class Pairs:
    pairs: list[tuple[str, Any]]


def ids_of_json(text: str) -> list[Any] | None:
    try:
        return ids_or_none(json.loads(text))
    except ValueError:
        return None


def ids_or_none(value: Any) -> list[Any] | None:
    """A list of strings and integers."""
    fine = isinstance(value, list) and all(type(one) in (str, int) for one in value)
    return value if fine else None


def answers_of(
    rows: Sequence[Row],
    ids: Sequence[int] | Sequence[str],
    k: int,
    exclude_clicked: bool,
    scores: Callable[[list[int]], np.ndarray],
) -> list[Answer]:
    """What each row is answered by a model of these scores, whose items have these ids."""
    integers = all(isinstance(name, int) for name in ids)
    place = {str(name): number for number, name in enumerate(ids, 1)}
    answers = []
    for row in rows:
        if row.ids is None or (not integers and any(type(name) is int for name in row.ids)):
            answers.append(Answer(row.names, "error"))
            continue
        known = [place[str(name)] for name in row.ids if str(name) in place]
        skipped = len(row.ids) - len(known)
        if not known:
            answers.append(Answer(row.names, "popularity", skipped, min(k, len(ids))))
            continue
        excluded = set(known) if exclude_clicked else set()
        count = min(k, len(ids) - len(excluded))
        kind = "model" if count else "error"
        answers.append(Answer(row.names, kind, skipped, count, excluded, scores(known)))
    return answers
