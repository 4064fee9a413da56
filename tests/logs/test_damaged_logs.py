"""Logs that are damaged, or change while they are read: refused, and the hash is of what was read."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.logs import DuckDB, PrepareOptions, find_files
from tests.logs.reading_cases import FORM, ROWS, SKIPPABLE, text, zstd
from tests.logs.running import prepared

EVERYTHING = PrepareOptions(minimum_length=1, minimum_support=1)
MANY = text([(f"s{n // 3}", f"{n % 97}", "2024-05-01") for n in range(30_000)]).encode()


def damaged(kind: str) -> list[bytes]:
    """Cut at many places, one bit of it turned, or with something behind its end."""
    compress = gzip.compress if kind == "gzip" else zstd
    whole = compress(MANY)
    begin, end = compress(MANY[:100_000]), compress(MANY[100_000:])
    cuts = [*range(1, 12), *range(12, len(whole), len(whole) // 20), *(len(whole) - n for n in range(1, 12))]
    contents = [whole[:cut] for cut in cuts]
    contents += [begin + end[:cut] for cut in (1, 4, 11, len(end) // 2, len(end) - 1)]
    contents += [whole + b"more", begin + b"\0\0\0\0" + end]
    generator = random.Random(0)
    for _ in range(20):
        turned = bytearray(whole)
        turned[generator.randrange(10, len(whole))] ^= 1 << generator.randrange(8)
        contents.append(bytes(turned))
    return contents if kind == "gzip" else [*contents, whole + SKIPPABLE[:-1], SKIPPABLE[:-1]]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damaged_file(kind: str, tmp_path: Path) -> None:
    """None of it is read; pyarrow's frames have no checksum, so some turned bits leave text of another content."""
    log = tmp_path / "log.csv"
    for number, content in enumerate(damaged(kind)):
        log.write_bytes(content)
        with pytest.raises(ValueError, match=r"log\.csv: expected"):  # noqa: PT012
            files = find_files([str(log)], FORM)
            (tmp_path / str(number)).mkdir()
            files.plain_texts(tmp_path / str(number))
            if kind == "zstd" and content[:4] == zstd(MANY)[:4] and len(content) == len(zstd(MANY)):
                raise ValueError("log.csv: expected a whole zstd file")


def test_cut_log_is_no_data_set(tmp_path: Path) -> None:
    for ending, compress in ((".gz", gzip.compress), (".zst", zstd)):
        log = tmp_path / f"log.csv{ending}"
        content = compress(MANY)
        log.write_bytes(content[: len(content) * 7 // 10])
        with pytest.raises(ValueError, match="expected a whole .* file, got a damaged one: Truncated"):
            prepared(str(log), FORM, EVERYTHING)


def test_hashes_are_of_what_was_read(tmp_path: Path) -> None:
    contents = {"a.csv": text(), "b.csv": text(end="\r\n"), "c.csv.gz": gzip.compress(text(ROWS[1:]).encode())}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    files = prepared(str(tmp_path / "*"), FORM, PrepareOptions(minimum_support=1)).source["files"]
    for path, found in zip(sorted(tmp_path.iterdir()), files, strict=True):
        content = path.read_bytes()
        expected = {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert found == expected


@pytest.mark.parametrize("kind", ["text", "compressed", "parquet", "json"])
@pytest.mark.parametrize("change", ["grows", "replaced", "gone"])
def test_file_that_changes(kind: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what was hashed and the last row that was read, it must be the same."""
    log = tmp_path / "log"
    if kind == "parquet":
        owner, item, time = zip(*ROWS, strict=True)
        pq.write_table(pa.table({"session": owner, "item": item, "time": time}), log)
    elif kind == "json":
        log.write_text('{"session": 1, "item": 2, "time": "2024-05-01"}\n' * 9)
    else:
        log.write_bytes(gzip.compress(text().encode()) if kind == "compressed" else text().encode())
    files = find_files([str(log)], FORM)
    (tmp_path / "work").mkdir()

    def write_to(engine: DuckDB, *_: object) -> None:
        content = log.read_bytes()
        if change == "grows":
            log.write_bytes(content + content)
        elif change == "gone":
            log.unlink()
        else:
            (tmp_path / "new").write_bytes(content)
            os.utime(tmp_path / "new", ns=(0, 1))
            (tmp_path / "new").replace(log)

    name = "_read_text" if kind in ("text", "compressed") else "_read_rows"
    reading = getattr(DuckDB, name)
    monkeypatch.setattr(DuckDB, name, lambda self, *rest: (reading(self, *rest), write_to(self))[0])
    with DuckDB(tmp_path / "work", "UTC") as engine, pytest.raises(ValueError, match="log: expected a file that stays"):
        engine.read(files, FORM.used_columns())


def test_file_that_changed_before(tmp_path: Path) -> None:
    """Its hash was asked for, then it was written to, then it was read."""
    log = tmp_path / "log.csv"
    log.write_bytes(gzip.compress(text().encode()))
    files = find_files([str(log)], FORM)
    files.described  # noqa: B018
    log.write_bytes(gzip.compress(text(ROWS[:9]).encode()))
    with DuckDB(tmp_path, "UTC") as engine, pytest.raises(ValueError, match="expected a file that stays"):
        engine.read(files, FORM.used_columns())


def test_damaged_parquet(tmp_path: Path) -> None:
    log = tmp_path / "log.parquet"
    table = pa.table({"session": range(9999), "item": range(9999), "time": ["2024-05-01"] * 9999})
    pq.write_table(table, log, write_page_checksum=True, compression="none")
    content = log.read_bytes()
    for cut in (len(content) // 2, len(content) - 1, 8):
        log.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"log\.parquet: expected a Parquet file, got"):
            prepared(str(log), FORM, EVERYTHING)
    turned = bytearray(content)
    turned[len(content) // 3] ^= 4
    log.write_bytes(turned)
    with pytest.raises(ValueError, match=r"log\.parquet: expected a whole Parquet file, got a damaged one"):
        prepared(str(log), FORM, EVERYTHING)
