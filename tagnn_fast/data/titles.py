"""What items are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_SEPARATORS = ("\t", ",")
_QUOTED = r'"(?:[^"]|"")*"'


class FileTitles(dict[str, str]):
    """Titles by raw item id, as a file has them.

    Args:
        columns: the values of its first line, which are names of the columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = columns


def read_titles(path: Path) -> FileTitles:
    """Titles by raw item id, from the first two columns of a text file with a header.

    - Tabs or commas stand between the columns: the one of them by which all lines have as many columns as the first.
    - A line is a row, and empty lines are none. A value may be in double quotes, with quotes in it doubled; any other
      quote is a character like others.
    - An id is taken as it is written: 007 is not 7. An item may stand in several rows with the same title. Rows without
      a title name nothing.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: naming the line, on text that is not UTF-8, a line with more or fewer columns than the first, an
            empty id, or a second title for an id; without a row, or with fewer than two columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of titles")
    lines = dict(_lines(path))
    if not lines:
        raise ValueError(f"{path}: expected titles, got an empty file")
    separator = _separator(lines)
    first, *others = lines
    names = _values(lines[first], separator)
    if len(names) < 2:
        raise ValueError(f"{path}: expected an item id and a title in each row, got the columns {', '.join(names)}")
    if re.fullmatch(r"-?\d+", names[0]):
        raise ValueError(f"{path}: expected the names of the columns in line {first}, got the item id {names[0]!r}")
    titles = FileTitles(names)
    line_of: dict[str, int] = {}
    for number in others:
        values = _values(lines[number], separator)
        if len(values) != len(names):
            raise ValueError(f"{path}: expected {len(names)} columns, got {len(values)} in line {number}")
        raw_id, title = values[:2]
        if not raw_id:
            raise ValueError(f"{path}: expected an item id, got none in line {number}")
        if not title:
            continue
        if titles.setdefault(raw_id, title) != title:
            raise ValueError(
                f"{path}: expected one title for {raw_id!r}, got {titles[raw_id]!r} in line {line_of[raw_id]} "
                f"and {title!r} in line {number}"
            )
        line_of.setdefault(raw_id, number)
    if not titles:
        raise ValueError(f"{path}: expected titles, got only the columns {', '.join(names)}")
    return titles


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, by number."""
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", path.read_bytes()), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: expected text in UTF-8, got something else in line {number}") from None
        if text.strip():
            yield number, text


def _separator(lines: dict[int, str]) -> str:
    """The separator by which fewest lines differ from the first, which has two columns or more."""

    def misfits(separator: str) -> int:
        columns = [len(_values(line, separator)) for line in lines.values()]
        return len(lines) if columns[0] < 2 else sum(count != columns[0] for count in columns)

    return min(_SEPARATORS, key=misfits)


def _values(line: str, separator: str) -> list[str]:
    """The values of a row; quotes around a whole value are none of it."""
    if '"' not in line:
        return line.split(separator)
    values = re.findall(rf"(?:^|{separator})({_QUOTED}(?={separator}|$)|[^{separator}]*)", line)
    return [value[1:-1].replace('""', '"') if re.fullmatch(_QUOTED, value) else value for value in values]
