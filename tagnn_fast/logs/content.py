"""What the files of a log hold: decompressed, verified to the last byte, hashed in the same pass, as lines of UTF-8."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

_BLOCK = 1 << 17  # bytes that are looked at together
_LONGEST = 400_000  # characters of a line; a longer one spans a whole block, and DuckDB takes 2,000,000 bytes at most
_UNDECODED = "\udcff"  # stands for bytes that are no text in the file's encoding: no text holds it
_COMPRESSIONS = ((rb"\x1f\x8b", "gzip"), (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", "zstd"))
_COMPRESSED_NAMES = {".gz", ".zst", ".zstd", ".bz2", ".deflate", ".lz4", ".snappy", ".xz"}
_OTHERS = ((rb"PK\x03\x04", "zip"), (rb"BZh[1-9]1AY&SY", "bzip2"), (rb"\xfd7zXZ\x00", "xz"), (rb"\x04\x22M\x18", "lz4"))

ERRORS = "tagnn_fast.undecoded"  # how decoders treat bytes that are no text
codecs.register_error(ERRORS, lambda error: (_UNDECODED, error.end))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Record:
    """What a file was when it was read.

    Attributes:
        described: its name, size and SHA-256.
        state: what changes where it is written to or replaced.
        content: SHA-256 of what it holds, decompressed.
    """

    described: dict[str, Any]
    state: tuple[int, ...]
    content: str

    def check(self, path: str) -> None:
        """Refuse a file that was written to since.

        Raises:
            ValueError: where it was.
        """
        try:
            state = _state(os.stat(path))
        except OSError:
            state = ()
        if state != self.state:
            raise ValueError(f"{path}: expected a file that stays as it is while it is read, got one that changed")


class _Hashing:
    """A file, and the hash of what was read of it."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        return block

    def close(self) -> None:
        """The file is closed by who opened it."""


def start_of(path: str) -> bytes:
    """The first bytes of a file, by which its kind is known."""
    with open(path, "rb") as file:
        return file.read(16)


def compression_of(path: str) -> str | None:
    """How a file is compressed, by its content: names say less.

    Raises:
        ValueError: on a compression that is not read.
    """
    start = start_of(path)
    for pattern, name in _OTHERS:
        if re.match(pattern, start):
            raise ValueError(f"{path}: expected text, plain or compressed by gzip or zstd, got {name}")
    return next((name for pattern, name in _COMPRESSIONS if re.match(pattern, start)), None)


def blocks(path: str, records: dict[str, Record]) -> Iterator[bytes]:
    """The content of a file, decompressed. After the last block, `records` has what it was.

    All gzip members and zstd frames are read and held against their checksums, where they have some.

    Raises:
        ValueError: on a compressed file that is damaged, ends too early or has something behind its end; or one that
            is not what it was when it was recorded before.
    """
    compression = compression_of(path)
    with open(path, "rb") as file:
        raw, state = _Hashing(file), _state(os.fstat(file.fileno()))
        source: Any = pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression) if compression else raw
        content = hashlib.sha256() if compression else raw.digest
        try:
            while block := source.read(_BLOCK):
                if compression:
                    content.update(block)
                yield block
        except (pa.ArrowException, OSError) as error:
            if compression is None:
                raise
            raise ValueError(f"{path}: expected a whole {compression} file, got a damaged one: {error}") from None
        described = {"name": Path(path).name, "bytes": file.tell(), "sha256": raw.digest.hexdigest()}
    if path in records and records[path].described != described:
        records[path] = Record(described, (), "")  # a state that no file has
        records[path].check(path)
    records[path] = Record(described, state, content.hexdigest())


def record(path: str, records: dict[str, Record]) -> None:
    """Hash a file as it is, where none of its content is needed here."""
    with open(path, "rb") as file:
        state = _state(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256")
        described = {"name": Path(path).name, "bytes": file.tell(), "sha256": digest.hexdigest()}
    records[path] = Record(described, state, digest.hexdigest())


def is_plain(path: str, encoding: str, records: dict[str, Record]) -> bool:
    r"""Whether engines read a text file alike as it is; then it is hashed.

    That is UTF-8 without compression, byte order mark, NUL or blank first line, with lines that end in \n and are not
    very long, and a name that engines do not take for a hidden or a compressed file's.
    """
    telling = Path(path).name[0] in "._" or Path(path).suffix.lower() in _COMPRESSED_NAMES
    if encoding != "utf-8" or telling or compression_of(path):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = True
    for block in blocks(path, records):
        if first and (block.startswith(codecs.BOM_UTF8) or not block.split(b"\n", 1)[0].strip()):
            return False
        if b"\r" in block or b"\0" in block or (len(block) == _BLOCK and b"\n" not in block):
            return False
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            return False
        first = False
    return not decoder.getstate()[0]


def first_line(path: str, encoding: str) -> str | None:
    """The first line that is not blank, empty where there is none; None where it is no text in `encoding`.

    Raises:
        ValueError: see :func:`blocks`.
    """
    text = ""
    for piece, _ in _texts(path, encoding, {}):
        text += piece
        if "\n" in text or len(text) > _LONGEST:
            break
    line = text.split("\n", 1)[0]
    return None if _encoded(line) is None else line


def lines(
    path: str, encoding: str, records: dict[str, Record], longest: int | None = None
) -> Iterator[tuple[bytes, list[tuple[str, str]]]]:
    r"""Whole lines of a file as UTF-8, many at once, each ended by \n; and lines that are none, each with the reason.

    A line ends at \n, \r\n or \r, quoted or not. Blank lines before the first other one and a byte order mark are
    left out. Lines with bytes that are no text in `encoding`, with NUL, or of more than `longest` characters (400,000)
    are none.

    Raises:
        ValueError: see :func:`blocks`.
    """
    longest = _LONGEST if longest is None else longest
    rest, endless = "", ""
    for piece, last in _texts(path, encoding, records):
        rest += piece
        if last and (rest or endless):
            rest += "\n"
        end = rest.rfind("\n") + 1
        if end == 0:
            if len(rest) > longest:
                endless, rest = endless or rest[:1000], ""
            continue
        whole, rest = rest[:end], rest[end:]
        refused = []
        if endless or whole.index("\n") > longest:  # all but the first line are within one block
            line, whole = whole.split("\n", 1)
            refused.append(("line too long", (endless or line)[:1000]))
            endless = ""
        good = _encoded(whole)
        if good is None:
            good = b""
            for line in whole[:-1].split("\n"):
                encoded = _encoded(line)
                if encoded is not None:
                    good += encoded + b"\n"
                else:
                    reason = "NUL in the line" if "\0" in line else f"not {encoding.upper()} (see --encoding)"
                    refused.append((reason, _shown(line)))
        yield good, refused


def _texts(path: str, encoding: str, records: dict[str, Record]) -> Iterator[tuple[str, bool]]:
    r"""Decoded blocks with \n at the ends of lines, and whether it is the last; no mark or blank lines before all."""
    decoder = codecs.getincrementaldecoder(encoding)(ERRORS)
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    marked, beginning = True, True
    held = ""
    for block in chain(blocks(path, records), [b""]):
        try:
            held += newlines.decode(block, final=not block)
        except UnicodeError as error:  # without a byte order mark, say
            raise ValueError(
                f"{path}: expected text in {encoding.upper()} (see --encoding), got other: {error}"
            ) from None
        if marked and held:
            held, marked = held.removeprefix("\ufeff"), False
        if beginning:
            held = re.sub(r"\A(?: *\n)+", "", held)
            if block and not held.strip(" ") and len(held) <= _LONGEST:
                continue
            beginning = False
        yield held, not block
        held = ""


def _encoded(text: str) -> bytes | None:
    try:
        return None if "\0" in text else text.encode()
    except UnicodeEncodeError:
        return None


def _shown(line: str) -> str:
    """The beginning of a line that is no text, as text."""
    return line[:1000].replace(_UNDECODED, "\ufffd").replace("\0", "\ufffd").encode(errors="replace").decode()


def _state(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
