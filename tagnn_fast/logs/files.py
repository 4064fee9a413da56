"""The files of a log: which they are, of which kind, and what their columns are called."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.logs import content
from tagnn_fast.logs.content import Record
from tagnn_fast.logs.formats import LogFormat

_JSON_NAME = re.compile(r"\.(jsonl|ndjson|json)(\.(gz|zst|zstd))?$", re.IGNORECASE)
_TABLES = {"_delta_log", ".hoodie"}  # of Delta Lake and Hudi
_EXAMPLES = "item_id_list:token_seq"  # in RecBole's files of prefixes and targets
_IDOMAAR = re.compile(r"\w+\.\w+\t[^\t]*\t-?\d+\t\{")


@dataclass(frozen=True)
class LogFiles:
    """Files of one log, in the order of their names.

    Attributes:
        paths: absolute.
        kind: "text", "parquet", "json" (an object in each line) or "idomaar" (30Music's lines, with objects in them).
        columns: the columns of text files, all of them, by the names that the format knows them by.
        form: what the log looks like.
        records: of the files that were read, what they were then.
    """

    paths: list[str]
    kind: str
    columns: tuple[str, ...]
    form: LogFormat
    records: dict[str, Record] = field(default_factory=dict, compare=False)

    @property
    def header(self) -> bool:
        """Whether the first line of a text file names the columns."""
        return not self.form.columns

    @property
    def described(self) -> list[dict[str, Any]]:
        """Name, size and SHA-256 of each file, of the content that is or was read."""
        for path in self.paths:
            if path not in self.records:
                content.record(path, self.records)
        return [self.records[path].described for path in self.paths]

    def check_read(self) -> None:
        """Refuse, once they are read, files that were written to meanwhile, and two with the same clicks.

        Raises:
            ValueError: where it is so.
        """
        for path in self.paths:
            self.records[path].check(path)
        check_each_once(self)

    def has_clicks(self, path: str) -> bool:
        """Whether a file has anything but the names of its columns."""
        if self.kind == "parquet":
            return bool(pq.read_metadata(path).num_rows)
        texts = content.lines(path, self.form.encoding, {})
        lines = (line for whole, _ in texts for line in whole.splitlines() if line.strip())
        return next(islice(lines, int(self.kind == "text" and self.header), None), None) is not None

    def plain_texts(self, folder: Path) -> tuple[list[str], str | None]:
        """Text files that all engines read alike: the log's own, or in `folder` what they hold.

        Returns:
            Their paths; and that of a Parquet file with the lines that are in none (`line`) and why (`fault`), where
            there are such.

        Raises:
            ValueError: see :func:`tagnn_fast.logs.content.blocks`.
        """
        texts, refused = list[str](), list[tuple[str, str]]()
        rejected = folder / "refused.parquet"
        writer: pq.ParquetWriter | None = None
        for number, path in enumerate(self.paths):
            if content.is_plain(path, self.form.encoding, self.records):
                texts.append(path)
                continue
            texts.append(str(folder / f"{number:06}.txt"))
            with open(texts[-1], "wb") as file:
                for whole, others in content.lines(path, self.form.encoding, self.records):
                    file.write(whole)
                    refused += others
                    if len(refused) > 50_000:
                        writer = _write_refused(refused, rejected, writer)
        if refused:
            writer = _write_refused(refused, rejected, writer)
        if writer is not None:
            writer.close()
        return texts, str(rejected) if writer is not None else None


def check_each_once(*logs: LogFiles) -> None:
    """Refuse two files, compressed or not, whose content is the same: each of its clicks would count twice.

    Raises:
        ValueError: naming both.
    """
    seen = dict[str, str]()
    for files in logs:
        for path in files.paths:
            first = seen.setdefault(files.records[path].content, path)
            if first != path and files.records[path].described["bytes"] and files.has_clicks(path):
                raise ValueError(f"{path}: expected other clicks than in {first}, got the same: each would count twice")


def _write_refused(refused: list[tuple[str, str]], path: Path, writer: pq.ParquetWriter | None) -> pq.ParquetWriter:
    faults, texts = (pa.array(values, pa.string()) for values in zip(*refused, strict=True))
    table = pa.table({"line": texts, "fault": faults})
    writer = pq.ParquetWriter(path, table.schema) if writer is None else writer
    writer.write_table(table)
    refused.clear()
    return writer


def find_files(patterns: Sequence[str], form: LogFormat) -> LogFiles:
    r"""The files that paths, folders and globs name.

    Of a folder, and where a pattern matches one, all files are taken, those of its folders too, but for those whose
    name, or a folder's in it, begins with "." or "_": markers and what is not finished. Nothing in a path is taken for
    a column. Rows are in the order of their files' absolute paths, whatever order they are given in. Parts of a folder
    may be empty, but not all of them.

    A file is Parquet, gzip or zstd by its content, and JSON lines by its name (.json, .jsonl, .ndjson) or where its
    first line is a JSON object. Of what is read of each, see :func:`tagnn_fast.logs.parquet.parquet_rows` and
    :func:`tagnn_fast.logs.json_lines.json_rows`. All else is text in the format's encoding, whose lines end at \n, \r\n
    or \r, quoted or not. Bad rows are those with bytes that are no text in it, with NUL, with more than 400,000
    characters, and with another number of columns than the header (or `columns`) has; blank lines are none.

    Raises:
        FileNotFoundError: where one names none.
        ValueError: on an empty or damaged file, files of different kinds or with different columns, or without a
            column that `form` names.
    """
    found_at = [(path, pattern) for pattern in patterns for path in _matches(pattern)]
    parts = {str(Path(path).resolve()): Path(pattern).is_dir() for path, pattern in found_at}
    kinds = {path: _kind(path, form) for path in sorted(parts)}
    filled = [path for path, kind in kinds.items() if kind != "empty"]
    for path in kinds:
        if path not in filled and not (filled and parts[path]):
            raise ValueError(f"{path}: expected clicks, got an empty file")
    first = filled[0]
    for path in filled:
        if kinds[path] != kinds[first]:
            raise ValueError(f"{path}: expected files of one kind, {kinds[first]} as {first}, got {kinds[path]}")
    if kinds[first] == "parquet" and form.encoding != "utf-8":
        raise ValueError(f"{first}: expected text, which may have an encoding (--encoding), got Parquet")
    return LogFiles(list(kinds), kinds[first], _columns(filled, kinds[first], form), form)


def _columns(paths: list[str], kind: str, form: LogFormat) -> tuple[str, ...]:
    """Those of text files; Parquet files may have any, if only each has those that are needed."""
    columns: tuple[str, ...] = ()
    for path in paths if kind in ("text", "parquet") else []:
        found = _text_columns(path, form) if kind == "text" else parquet_columns(path, form)
        if kind == "text" and columns and found != columns:
            raise ValueError(
                f"{path}: expected the columns of {paths[0]}, {', '.join(columns)}; got {', '.join(found)}"
            )
        columns = found
        check_columns(path, columns, form)
    return columns


def check_columns(path: str, columns: Sequence[str], form: LogFormat) -> None:
    """Refuse a log without a column that the format names, or with two of that name; RecBole's files of examples.

    Raises:
        ValueError: where it is so.
    """
    if form.name == "recbole" and _EXAMPLES in columns:
        raise ValueError(f"{path}: expected a click in each row, got {_EXAMPLES!r}, examples; see prepare exchange")
    for name in form.used_columns():
        if columns.count(name) != 1:
            raise ValueError(f"{path}: expected one column {name!r}, got {', '.join(columns)}")


def _matches(pattern: str) -> list[str]:
    if pattern and Path(pattern).exists():
        found = [pattern]
    else:
        marks = [part for part in Path(pattern).parts if part.startswith("_")]
        found = [path for path in glob.glob(pattern, recursive=True) if not _hidden(path, marks)]
    files = list[str]()
    for path in found:
        files += _of_folder(path) if Path(path).is_dir() else [path] if Path(path).is_file() else []
    if not files:
        raise FileNotFoundError(f"{pattern!r}: expected a file, a folder or a pattern that files match, got none")
    return files


def _hidden(path: str, marks: list[str]) -> bool:
    """Whether a pattern has matched a name that begins with "_", but not by one of its parts that do."""
    names = [part for part in Path(path).parts if part.startswith("_")]
    return not all(any(fnmatchcase(name, mark) for mark in marks) for name in names)


def _of_folder(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(folder)}  # links may go round
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if table := _TABLES.intersection(folders):
            raise ValueError(
                f"{place}: expected a folder of parts, got a table with a {table.pop()}, whose parts hold deleted rows "
                "too; export its rows"
            )
        real = {name: os.path.realpath(os.path.join(place, name)) for name in folders}
        folders[:] = [name for name in folders if name[0] not in "._" and real[name] not in seen]
        seen.update(real[name] for name in folders)
        yield from (os.path.join(place, name) for name in files if name[0] not in "._")


def _kind(path: str, form: LogFormat) -> str:
    if content.start_of(path).startswith(b"PAR1"):
        return "parquet"
    if path.endswith(".parquet"):
        raise ValueError(f"{path}: expected a Parquet file, got something else")
    first = content.first_line(path, form.encoding)
    if first == "":
        return "empty"
    if _JSON_NAME.search(path) or _is_object(first or ""):
        return "json"
    if first is None and not form.columns:
        utf_16 = content.start_of(path)[:2] in (b"\xff\xfe", b"\xfe\xff")
        raise ValueError(
            f"{path}: expected text in {form.encoding.upper()}, plain or compressed by gzip or zstd, got something "
            f"else in its first line; see --encoding{', utf-16 for one' if utf_16 else ''}"
        )
    return "idomaar" if _IDOMAAR.match(first or "") else "text"


def _is_object(line: str) -> bool:
    try:
        return line.lstrip().startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def parquet_columns(path: str, form: LogFormat) -> tuple[str, ...]:
    """The columns of a Parquet file, by the names that the format knows them by.

    Raises:
        ValueError: where it is none.
    """
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: expected a Parquet file, got {error}") from None
    return form.meant(names)


def _text_columns(path: str, form: LogFormat) -> tuple[str, ...]:
    if form.columns:
        return form.columns
    first, separator = content.first_line(path, form.encoding) or "", form.separator
    if len(separator) > 1:  # more than the reader takes
        first, separator = first.replace(separator, "\x1f"), "\x1f"
    quotes: dict[str, Any] = {"quotechar": form.quote} if form.quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(first), delimiter=separator, **quotes)
    try:
        return form.meant(next(reader))
    except csv.Error as error:
        raise ValueError(f"{path}: expected the names of the columns in the first line, got {error}") from None
