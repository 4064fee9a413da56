"""The log of all looks at a test set: a JSON object in each line, there before anybody learns what was seen."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagnn_fast.files import flush


def read_looks(path: Path) -> list[dict[str, Any]]:
    """All looks of a log; none where it does not exist yet.

    Raises:
        ValueError: where a line is no look; a last one that was cut off while it was written is none, since nobody has
            learnt of it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_look(path, line) for line in content[: _end(content)].splitlines()]


def append_look(path: Path, look: Mapping[str, Any]) -> None:
    """Write a look behind the others, in the place of what a killed process has written of one.

    Raises:
        OSError: where it cannot be written; the log is as it was.
    """
    with path.open("a+b") as file:
        with suppress(OSError):  # somebody may evaluate while the run is trained; not every file system has locks
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        end = _end(content)
        line = json.dumps(look).encode() + b"\n"
        try:
            file.truncate(end)
            file.write(line if content[:end].endswith(b"\n") or end == 0 else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise
    flush(path.parent)  # the file may be new


def _end(content: bytes) -> int:
    """Where the last whole line ends: its line break, or the end of a whole JSON object without one."""
    end = content.rfind(b"\n") + 1
    try:
        whole = isinstance(json.loads(content[end:]), dict)
    except (ValueError, RecursionError):
        whole = False
    return len(content) if whole else end


def _look(path: Path, line: bytes) -> dict[str, Any]:
    try:
        look = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object in each line, got {error}") from None
    if not isinstance(look, dict) or not isinstance(look.get("reader"), str) or not _are_figures(look.get("figures")):
        raise ValueError(f"{path}: expected a reader and the figures that it saw in each line, got {line[:200]!r}")
    return look


def _are_figures(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(figure, (int, float)) for figure in value.values())
