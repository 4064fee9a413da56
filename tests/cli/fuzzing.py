"""Damaged files of sessions: `python -m tests.cli.fuzzing FOLDER --seconds 600` says how many there were of each kind.

Every line of a CSV or JSON lines file is a row, whatever happened to it: it must have its answer or its error in its
place, and a line that is as it was must have the answer that its session has alone. A damaged Parquet file is refused,
or read; one whose lists are of another type, with nulls, is read as it is.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tagnn_fast.cli import _message
from tagnn_fast.recommend_files import recommend_file
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.run import open_run
from tests.runs.small_runs import write_run

K = 3
TEXTS = ["Sigur Rós", "Björk", "múm", "[x]", "7", "07", "a,b", 'q"q', "ü", "tab\tbed", "🎈", "NA"]
INTEGERS = [7, 70, 2**40, 2**63 - 1, -3, 0, 12, 13, 14]
PIECES = [b'"', b",", b"[", b"]", b"{", b"}", b"\\", b"\n", b"\r", b"\r\n", b" ", b"\x00", b"\xff", b"\xed\xa0\x80"]
PIECES += [
    b"1.5",
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b"9" * 30,
    b"-",
    b'"items":',
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"[" * 50,
]


class Fuzzer:
    """Makes a damaged file, lets `recommend` answer it, and checks the answers; counts what came out."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self._folder = folder
        self._recommenders = {
            str: open_run(write_run(folder / "texts", TEXTS)).recommender(),
            int: open_run(write_run(folder / "integers", INTEGERS)).recommender(),
        }
        self._answers: dict[tuple[object, ...], list[Any]] = {}

    def once(self) -> None:
        """One file of some kind."""
        kind: type = self.chance.choice([str, int])
        self.chance.choice([self._csv, self._json_lines, self._parquet, self._lists])(kind)

    def _sessions(self, kind: type) -> list[list[Any]]:
        known: list[Any] = [*TEXTS] if kind is str else [*INTEGERS]
        unknown: list[Any] = ["nothing", ""] if kind is str else [999]
        lengths = [self.chance.randrange(5) for _ in range(self.chance.randrange(12))]
        return [[self.chance.choice(known + unknown) for _ in range(length)] for length in lengths]

    def _csv(self, kind: type) -> None:
        lines: dict[bytes, tuple[object, list[Any]]] = {}
        for place, items in enumerate(self._sessions(kind)):
            name = f"n{place}"
            plain = all(re.fullmatch(r'[^\s,"\[]+', str(item)) for item in items)
            cell = " ".join(map(str, items)) if plain and self.chance.random() < 0.7 else json.dumps(items)
            quoted = '"' + cell.replace('"', '""') + '"'
            lines[f"{name},{cell if plain and cell[:1] != '[' else quoted}".encode()] = (name, items)
        self._text(kind, "in.csv", b"session,items", lines)

    def _json_lines(self, kind: type) -> None:
        lines: dict[bytes, tuple[object, list[Any]]] = {}
        for place, items in enumerate(self._sessions(kind)):
            ascii_only = self.chance.random() < 0.5
            value = {"session": f"n{place}", "items": items}
            lines[json.dumps(value, ensure_ascii=ascii_only).encode()] = (f"n{place}", items)
        self._text(kind, "in.jsonl", None, lines)

    def _text(self, kind: type, name: str, header: bytes | None, lines: dict[bytes, tuple[object, list[Any]]]) -> None:
        rows = [self._damaged(line) if self.chance.random() < 0.3 else line for line in lines]
        end = self.chance.choice([b"\n", b"\r\n"])
        content = end.join([*([] if header is None else [header]), *rows]) + self.chance.choice([b"", end])
        (self._folder / name).write_bytes(content)
        found = self._answered(self._folder / name, kind)
        split = re.split(rb"\r\n|\r|\n", content)[0 if header is None else 1 :]
        if split and split[-1] == b"":
            split.pop()  # what is behind the last line's end is no line
        assert found is not None
        assert len(found) == len(split), (content, found)
        for line, rows_of_line in zip(split, found, strict=True):
            if line in lines:
                session, items = lines[line]
                assert rows_of_line == self._expected(session, items, kind), (content, line, rows_of_line)
                self.counts["rows that were whole"] += 1
            else:
                self.counts["damaged rows: " + ("error" if rows_of_line[0][2] == "error" else "answered")] += 1

    def _parquet(self, kind: type) -> None:
        self._write_parquet(kind, self._sessions(kind))
        path = self._folder / "in.parquet"
        content = bytearray(path.read_bytes())
        if self.chance.random() < 0.2:
            content = content[: self.chance.randrange(len(content))]
        for _ in range(self.chance.choice([1, 1, 2, 8])):
            if content:
                content[self.chance.randrange(len(content))] = self.chance.randrange(256)
        path.write_bytes(content)
        self.counts["damaged Parquet: " + ("refused" if self._answered(path, kind) is None else "read")] += 1

    def _write_parquet(self, kind: type, lists: list[Any]) -> None:
        values = pa.string() if kind is str else pa.int64()
        types = [pa.list_(values), pa.large_list(values)]
        types += [pa.list_(pa.large_string()), pa.list_(pa.string_view())] if kind is str else []
        names = [f"n{place}" for place in range(len(lists))]
        table = pa.table({"session": names, "items": pa.array(lists, self.chance.choice(types))})
        pq.write_table(
            table.cast(pa.schema([("session", pa.string()), table.schema.field("items")])),
            self._folder / "in.parquet",
            row_group_size=self.chance.randrange(1, 6),
            compression=self.chance.choice(["none", "snappy", "zstd"]),
            write_page_checksum=self.chance.random() < 0.5,
            use_dictionary=self.chance.random() < 0.5,
        )

    def _lists(self, kind: type) -> None:
        lists: list[Any] = list(self._sessions(kind))
        for place in range(len(lists)):
            if self.chance.random() < 0.2:
                lists[place] = self.chance.choice([None, [None], [*lists[place], None]])
        self._write_parquet(kind, lists)
        found = self._answered(self._folder / "in.parquet", kind)
        assert found is not None
        assert len(found) == len(lists)
        for place, (items, rows) in enumerate(zip(lists, found, strict=True)):
            if items is None or None in items:
                assert [row[:3] for row in rows] == [(f"n{place}", None, "error")], (items, rows)
                self.counts["rows with nulls: error"] += 1
            else:
                assert rows == self._expected(f"n{place}", items, kind), (items, rows)
                self.counts["rows that were whole"] += 1

    def _damaged(self, line: bytes) -> bytes:
        for _ in range(self.chance.choice([1, 1, 2, 5])):
            begin = self.chance.randrange(len(line) + 1)
            end = min(len(line), begin + self.chance.choice([0, 0, 1, 3, 20]))
            new = self.chance.choice([b"", self.chance.choice(PIECES), self.chance.randbytes(2), line[begin:end] * 2])
            line = line[:begin] + new + line[end:]
        return self.chance.randbytes(self.chance.randrange(40)) if self.chance.random() < 0.1 else line

    def _answered(self, path: Path, kind: type) -> list[list[Any]] | None:
        """Session, item, answer and error of the rows of each session, in their order; None where it is refused."""
        self.counts[path.suffix] += 1
        output = self._folder / self.chance.choice(["out.parquet", "out.jsonl"])
        output.unlink(missing_ok=True)
        try:
            recommend_file(self._recommenders[kind], path, output, K)
        except Exception as error:
            if _message(error) is None:
                raise
        if not output.exists():
            return None
        if output.suffix == ".parquet":
            rows = pq.read_table(output).to_pylist()
        else:
            rows = [json.loads(line) for line in output.read_bytes().decode().split("\n")[:-1]]
        found: list[list[Any]] = []
        for row in rows:
            if row["answer"] == "error" or row["rank"] == 1:
                found.append([])
            found[-1].append((row["session"], row["item"], row["answer"], row["error"]))
        return found

    def _expected(self, name: object, items: list[Any], kind: type) -> list[Any]:
        """What the session is answered alone."""
        if (kind, *items) not in self._answers:
            recommender: Recommender = self._recommenders[kind]
            alone = recommender.recommend([items], K).to_table().to_pylist()
            self._answers[(kind, *items)] = [(row["item"], row["answer"], None) for row in alone]
        return [(name, *row) for row in self._answers[(kind, *items)]]


def main() -> None:
    """For a time, from a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fuzzer = Fuzzer(options.folder, options.seed)
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        fuzzer.once()
    for name, count in sorted(fuzzer.counts.items()):
        print(f"{name}: {count:,}")


if __name__ == "__main__":
    main()
