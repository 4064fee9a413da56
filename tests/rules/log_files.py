"""Random clicks in files of every kind, with what goes wrong in such files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.rules.choices import Choices
from tests.rules.clicks import Raw
from tests.rules.log import Log


def columns_of(w: Choices, log: Log) -> list[str]:
    names = [*log.used(), *w.random.sample(["price", "note", "category"], w.random.randrange(3))]
    w.random.shuffle(names)
    return names


def text_files(w: Choices, log: Log, clicks: Sequence[Raw]) -> list[Path]:
    names = list(log.columns) or columns_of(w, log)
    back = {known: other for other, known in log.aliases.items()} if w.chance(0.5) else {}
    header = log.separator.join(back.get(name, name) for name in names)
    encoding = log.encoding

    def plain(text: str) -> str:
        text = text.encode(encoding, "replace").decode(encoding)
        if not log.quote:
            for part in (*log.separator, "\n"):
                text = text.replace(part, "_")
        return text

    def cell(text: str) -> str:
        text = plain(text)
        special = log.quote and (
            log.separator[0] in text or text.startswith(log.quote) or text.endswith(log.separator[0])
        )
        if not special and (not log.quote or not w.chance(0.1)):
            return text
        return log.quote + text.replace(log.quote, log.quote * 2) + log.quote

    def line(click: Raw) -> str:
        value = {**values_of(w, log, click), "price": "1.5", "note": w.one("", "x y", "a"), "category": w.one("0", "S")}
        return log.separator.join(cell(value.get(name, "")) for name in names)

    lines = [line(click) for click in clicks]
    for _ in range(w.one(0, 1, 1, 3) if w.messy else 0):
        w.alike &= spoil(w, log, lines)
    # Far too many bytes are text in these encodings for any to be none.
    marks = encoding == "utf-8"
    return in_files(w, lines, header if not log.columns else None, ".csv", encoding, bytes_too=marks)


def spoil(w: Choices, log: Log, lines: list[str]) -> bool:
    """Whether every engine takes it alike."""
    place = w.random.randrange(len(lines))
    cells = lines[place].split(log.separator)
    what = w.one("short", "long", "blank", "blanks", "nul", "quote", "line break", "twice", "empty")
    if what == "short":
        lines[place] = log.separator.join(cells[:-1])
    elif what == "long":
        lines[place] += log.separator + w.one("", "more")
    elif what == "blank":
        lines.insert(place, w.one("", "  ", " "))
    elif what == "nul":
        lines[place] += "\0"
    elif what == "twice":
        lines.insert(place, lines[place])
    elif what == "empty":
        lines.insert(place, log.separator * (len(cells) - 1))
    elif what == "quote" and log.quote:
        which = w.random.randrange(len(cells))
        q = log.quote
        cells[which] = w.one(
            f"a{q}b", f"{q}a", f"{q}a{q}b", f"a{q}", f" {q}a{q}", f"{q}{q}{q}", f"{q}a{q}{q}b{q}", f"{q}{q}"
        )
        lines[place] = log.separator.join(cells)
        return False
    elif what == "line break" and log.quote:
        cells[w.random.randrange(len(cells))] = log.quote + w.one("a\nb", "\n", "a\n\nb", "a\n") + log.quote
        lines[place] = log.separator.join(cells)
    return True


def values_of(w: Choices, log: Log, click: Raw) -> dict[str, str]:
    value = {log.item: click.item, log.time: w.time(click.time)}
    if log.event is not None:
        value[log.event] = click.event
    if log.since_start is not None:
        value[log.since_start] = w.one("", "x", "1.5", "-3", "9" * 30) if w.mess(0.01) else str(click.since)
    if log.session is not None:
        value[log.session] = click.session
    if log.user is not None:
        value[log.user] = click.user
    return value


def in_files(
    w: Choices, lines: Sequence[str], header: str | None, ending: str, encoding: str, bytes_too: bool = False
) -> list[Path]:
    """The lines in one to three files, plain or compressed, with any line ends."""
    count = w.random.choices((1, 2, 3), (6, 2, 2))[0] if len(lines) > 3 else 1
    cuts = [0, *sorted(w.random.randrange(1, len(lines)) for _ in range(count - 1)), len(lines)]
    paths = []
    for number, (begin, end) in enumerate(pairwise(cuts)):
        part = ([header] if header is not None else []) + list(lines[begin:end])
        if not part:
            continue
        if w.mess(0.1):
            part.insert(0, w.one("", "  "))
        ends = w.one(("\n",), ("\n",), ("\r\n",), ("\r",), ("\n", "\r\n"))
        ended = [line + w.one(*ends) for line in part]
        if w.chance(0.2):
            ended[-1] = part[-1]
        content = "".join(ended).encode(encoding)
        if bytes_too:
            content = (b"\xef\xbb\xbf" if w.chance(0.15) else b"") + content
            if w.mess(0.1):
                place = (
                    content.index(b"\n", len(content) // 2) if b"\n" in content[len(content) // 2 :] else len(content)
                )
                content = content[:place] + w.one(b"\xff", b"\xe9", b"\xe2\x82") + content[place:]
        name, packed = w.random.choices(
            ((ending, bytes), (ending + ".gz", gzip.compress), (ending + ".zst", zstd)), (6, 2, 2)
        )[0]
        paths.append(w.folder / f"part-{number}{name}")
        paths[-1].write_bytes(packed(content))
    return paths


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue().to_pybytes())


def json_files(w: Choices, log: Log, clicks: Sequence[Raw]) -> list[Path]:
    """An object a click; or where the item is in a list, one for clicks side by side of the same owner."""
    lines = []
    in_list = log.item.startswith("events.")
    group: list[Raw] = []
    for click, after in zip(clicks, [*clicks[1:], None], strict=True):
        group.append(click)
        together = in_list and after is not None and w.chance(0.5)
        if together and (after.session, after.user) == (click.session, click.user):
            continue
        lines.append(json_line(w, log, group, in_list))
        group = []
    for _ in range(w.one(0, 1, 2) if w.messy else 0):
        place = w.random.randrange(len(lines))
        lines.insert(
            place, w.one("", "{", "[1]", "null", '"a"', lines[place][:-1], "{}", lines[place] + "}", "NaN", "\0")
        )
    return in_files(w, lines, None, ".jsonl", "utf-8", bytes_too=True)


def json_line(w: Choices, log: Log, clicks: Sequence[Raw], in_list: bool) -> str:
    made: dict[str, Any] = {"more": [1, {"a": None}]}
    rows = [
        {name: json_value(w, log, name, text) for name, text in values_of(w, log, click).items()} for click in clicks
    ]
    for name in rows[0]:
        path, values = name.split("."), [row[name] for row in rows]
        if in_list and path[0] == "events":
            events = made.setdefault("events", [{} for _ in rows])
            for event, value in zip(events, values, strict=True):
                event[path[1]] = value
        elif len(path) > 1 and w.chance(0.8):
            made.setdefault(path[0], {})[path[1]] = values[0]
        else:
            made[name] = values[0]
    if in_list and w.mess(0.02):
        made["events"] = w.one([], None, [[]], {"aid": 5}, 7)
    if not in_list and w.mess(0.02):
        made[log.item] = w.one([], ["a", 3], [None], [[1]], {"a": 1})
    return json.dumps(made, ensure_ascii=w.chance(0.5) or "\\ud800" in repr(made))


def json_value(w: Choices, log: Log, name: str, text: str) -> Any:
    if text == "":
        return w.one("", None)
    if w.mess(0.004):
        return w.one(True, 1.0, {"a": 1}, "\ud800", 2**70, -5)
    try:
        if w.chance(0.8) and str(int(text)) == text:
            return int(text)
        if name == log.time and w.chance(0.5) and repr(float(text)) == text and "e" not in text and "n" not in text:
            return float(text)
    except ValueError:
        pass
    return text


def parquet_files(w: Choices, log: Log, clicks: Sequence[Raw]) -> list[Path]:
    """Columns of any type that can say it; items in lists or not."""
    lists = w.chance(0.25)
    rows = [values_of(w, log, click) for click in clicks]
    columns: dict[str, Any] = {}
    sizes = [1] * len(rows)
    if lists:
        sizes = []
        while sum(sizes) < len(rows):
            sizes.append(min(w.one(0, 1, 2, 3), len(rows) - sum(sizes)))
    begins = [sum(sizes[:number]) for number in range(len(sizes))]
    for name in log.used():
        values: list[str | None] = [row[name] or (None if w.chance(0.5) else "") for row in rows]
        if name == log.time and log.unit == "iso" and log.time_format is None and w.chance(0.5):
            unit, zone = w.one("ms", "us", "ns"), w.one(None, "UTC", "Europe/Vienna")
            scale = {"ms": 1000, "us": 1, "ns": 0.001}[unit]
            whole = [
                int(click.time * 1000 // int(scale * 1000)) if scale >= 1 else click.time * 1000 + 999
                for click in clicks
            ]
            array = pa.array(whole, pa.int64()).cast(pa.timestamp(unit, zone))
        else:
            array = pa.array(values, pa.string())
            if all(value is None or (value.lstrip("-").isdecimal() and str(int(value)) == value) for value in values):
                array = array.cast(w.one(pa.int64(), pa.string())) if fits(values) else array
            elif w.chance(0.3):
                array = array.dictionary_encode() if not lists else array
        if not lists:
            columns[name] = array
        elif name == log.item or (name in (log.time, log.event) and w.chance(0.4)):
            cells = [array.slice(begin, size).to_pylist() for begin, size in zip(begins, sizes, strict=True)]
            cells = [None if not cell and w.chance(0.5) else cell for cell in cells]
            if w.mess(0.05) and name != log.item:
                cells[0] = [*(cells[0] or []), None]
            columns[name] = pa.array(cells, pa.list_(array.type))
        else:
            columns[name] = array.take(pa.array([min(begin, len(rows) - 1) for begin in begins]))
    columns["note"] = pa.array([1.5] * len(sizes))
    table = pa.table(columns)
    cut = w.random.randrange(1, len(sizes)) if len(sizes) > 2 and w.chance(0.3) else len(sizes)
    paths = []
    for number, part in enumerate((table.slice(0, cut), table.slice(cut))):
        if part.num_rows:
            paths.append(w.folder / f"part-{number}.parquet")
            pq.write_table(part, paths[-1], row_group_size=w.one(3, 1000))
    return paths


def fits(values: Sequence[str | None]) -> bool:
    return all(value is None or -(2**63) <= int(value) < 2**63 for value in values)
