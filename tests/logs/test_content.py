"""Verified lines: whatever bytes a log has, and wherever the blocks end in which it is read."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tagnn_fast.logs import content as reader
from tagnn_fast.logs import find_files
from tests.logs.reading_cases import FORM


def test_lines_across_blocks(tmp_path: Path) -> None:
    r"""Characters, \r\n and lines that lie across the blocks that are read; lines as long as may be and longer."""
    generator = random.Random(1)
    for seed in range(6):
        lines = []
        while sum(map(len, lines)) < 700_000:
            lines.append(f"s,{'é日🛒x'[generator.randrange(4)] * generator.choice((1, 9, 130, 99_990))},2024-05-01")
        lines[3:3] = [f"s,{'y' * (399_987 + extra)},2024-05-01" for extra in (0, 1, 900_000)]  # the first has 400,000
        end = ("\n", "\r\n", "\r")[seed % 3]
        (tmp_path / f"{seed}").mkdir()
        (tmp_path / "log.csv").write_bytes(end.join(["session,item,time", *lines]).encode())
        (text_path,), refused = find_files([str(tmp_path / "log.csv")], FORM).plain_texts(tmp_path / f"{seed}")
        whole = Path(text_path).read_text(encoding="utf-8").rstrip("\n").split("\n")
        assert whole == ["session,item,time", *(line for line in lines if len(line) <= 400_000)]
        assert refused is not None
        assert pq.read_table(refused).to_pydict()["fault"] == ["line too long"] * 2


ALPHABET = ["a", "b,", " ", "\n", "\n", "\r\n", "\r", "\0", "é", "🛒", "\ufeff", b"\xff", b"\xc3", "x" * 25]


def lines_by_hand(raw: bytes, encoding: str) -> tuple[list[str], list[str]]:
    """Lines that can be used, and those that cannot."""
    text = raw.decode(encoding, "tagnn_fast.undecoded").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line for line in lines if line.strip(" ")]
    bad = [len(line) > 20 or "\0" in line or "\udcff" in line for line in lines]
    return [line for line, wrong in zip(lines, bad, strict=True) if not wrong], [
        line for line, wrong in zip(lines, bad, strict=True) if wrong
    ]


def test_lines_of_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever falls onto the ends of blocks; and what is read as it is has the same lines."""
    monkeypatch.setattr(reader, "_BLOCK", 7)
    monkeypatch.setattr(reader, "_LONGEST", 20)
    generator = random.Random(2)
    log, plain = tmp_path / "log", 0
    for number in range(1500):
        letters = ALPHABET[: generator.choice((4, 6, len(ALPHABET)))]
        parts = [generator.choice(letters) for _ in range(generator.randrange(25))]
        encoding = ("utf-8", "latin-1", "utf-16-le")[number % 3]
        raw = b"".join(part if isinstance(part, bytes) else part.encode(encoding, "replace") for part in parts)
        log.write_bytes(raw)
        good, bad = lines_by_hand(raw, encoding)
        found, refused = b"", list[tuple[str, str]]()
        records: dict[str, reader.Record] = {}
        for whole, others in reader.lines(str(log), encoding, records):
            found += whole
            refused += others
        read = found.decode().split("\n")[:-1]
        assert [line for line in read if line.strip(" ")] == good
        assert not good or bad or read[0] == good[0]
        assert len(refused) == len(bad)
        assert [reason == "line too long" for reason, _ in refused] == [len(line) > 20 for line in bad]
        assert records[str(log)].described["sha256"] == hashlib.sha256(raw).hexdigest()
        if reader.is_plain(str(log), encoding, {}):
            plain += 1
            assert not bad
            assert raw.removesuffix(b"\n") == found.removesuffix(b"\n")
    assert plain > 50
