"""RecBole's files of examples: prefixes and targets as text, ready for training and test."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tagnn_fast.data.whole_sessions import put_together

_PREFIX, _TARGET = "item_id_list:token_seq", "item_id:token"
_SESSION, _USER = "session_id:token", "user_id:token"
Examples = tuple[list[list[str]], list[int]]  # sessions, and how many of the last clicks are targets of each


def find_benchmark(folder: Path) -> dict[str, Path]:
    """The files NAME.train.inter, NAME.test.inter and maybe NAME.valid.inter of a folder, by split; none without.

    Raises:
        FileNotFoundError: where one of the first two is missing.
        ValueError: where there are several of one split.
    """
    found = {split: sorted(folder.glob(f"*.{split}.inter")) for split in ("train", "valid", "test")}
    if not any(found.values()):
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            raise ValueError(f"{folder}: expected one *.{split}.inter, got {', '.join(path.name for path in paths)}")
        if not paths and split != "valid":
            raise FileNotFoundError(f"{folder}: expected a *.{split}.inter beside the other files of RecBole")
    return {split: paths[0] for split, paths in found.items() if paths}


def read_examples(path: Path) -> Examples:
    """The sessions that a file's examples were cut out of.

    A row is an example: ``item_id_list:token_seq``, ids with blanks between, and ``item_id:token``, the click behind
    them; other columns are not looked at but for whose it is: ``session_id:token``, which may also number the rows, or
    ``user_id:token``. Rows of a session follow each other, from the longest prefix to the shortest or the other way.

    Raises:
        ValueError: naming the line, on text that is not UTF-8, another number of columns than the header has, an empty
            prefix or target, or a session whose rows stand apart; without these columns, or without a row.
    """
    owner, rows = _rows(path)
    if not rows:
        raise ValueError(f"{path}: expected examples, got none")
    if owner != _USER and len({owner for owner, _, _ in rows}) == len(rows):
        rows = [("", prefix, target) for _, prefix, target in rows]  # numbers of rows say nothing
    grows = sum(after == [*prefix, target] for (_, prefix, target), (_, after, _) in pairwise(rows))
    shrinks = sum([*after, last] == prefix for (_, prefix, _), (_, after, last) in pairwise(rows))
    if grows <= shrinks:
        return put_together(rows)
    sessions, examples = put_together(reversed(rows))
    return sessions[::-1], examples[::-1]


def _rows(path: Path) -> tuple[str | None, list[tuple[str, list[str], str]]]:
    """The column that says whose a row is, if any; and of each row whose it is, its prefix and its target."""
    columns: list[str] = []
    rows: list[tuple[str, list[str], str]] = []
    before: dict[str, None] = {}  # sessions so far, the one of the last row at the end
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            cells = line.decode("utf-8-sig" if number == 1 else "utf-8").split("\t")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: expected text in UTF-8, got something else in line {number}") from None
        if number == 1:
            columns = cells
            for name in (_PREFIX, _TARGET):
                if columns.count(name) != 1:
                    raise ValueError(
                        f"{path}: expected one column {name!r}, got {', '.join(columns)}; clicks with their times are "
                        "read by prepare logs --format recbole"
                    )
            owner = next((columns.index(name) for name in (_SESSION, _USER) if name in columns), None)
            places = columns.index(_PREFIX), columns.index(_TARGET)
            continue
        if not line.strip():
            continue
        if len(cells) != len(columns):
            raise ValueError(f"{path}: expected {len(columns)} columns, got {len(cells)} in line {number}")
        prefix, target = [name for name in cells[places[0]].split(" ") if name], cells[places[1]]
        if not prefix or not target.strip():
            missing = _TARGET if prefix else _PREFIX
            raise ValueError(f"{path}: expected an id or more in {missing!r}, got none in line {number}")
        name = cells[owner] if owner is not None else str(number)
        if owner is not None and columns[owner] == _SESSION:
            if name in before and name != next(reversed(before)):  # each part would be taken for a session
                raise ValueError(
                    f"{path}: expected the rows of a session next to each other, got more of {name!r} in line {number}"
                )
            before[name] = None
        rows.append((name, prefix, target))
    if not columns:
        raise ValueError(f"{path}: expected examples, got an empty file")
    return columns[owner] if owner is not None else None, rows
