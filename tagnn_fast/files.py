"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def check_new_folder(path: Path, replace: bool) -> None:
    """Refuse a folder that must not be written.

    Raises:
        FileExistsError: where `path` exists; with `replace`, where it is anything but a data set.
    """
    if replace and path.exists() and not (path / "dataset.json").exists():
        raise FileExistsError(f"{path}: expected a data set to replace, got something else")
    if not replace and path.exists():
        raise FileExistsError(f"{path}: expected a folder that does not exist yet")


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` when the block ends well and is removed when it does not.

    Args:
        path: of the folder.
        replace: whether it takes the place of a data set that is there, which stays until then.

    Raises:
        FileExistsError: see :func:`check_new_folder`.
    """
    check_new_folder(path, replace)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    before = path.parent / f".{path.name}-before.{os.getpid()}.tmp"
    try:
        yield temporary
        for file in (*temporary.rglob("*"), temporary):
            _flush(file)
        if replace and path.exists():
            path.rename(before)
        temporary.rename(path)
        _flush(path.parent)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        if before.exists() and not path.exists():
            before.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` when the block ends well and is removed when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def clear_up(path: Path) -> None:
    """Remove what killed processes left beside `path` when they made it, or put back what was there before them."""
    path = path.resolve()
    for left in path.parent.glob(".*.tmp"):
        found = re.fullmatch(rf"\.{re.escape(path.name)}(-work|-before)?\.(\d+)\.tmp", left.name)
        if found is None or not left.is_dir() or Path(f"/proc/{found.group(2)}").exists():
            continue
        if found.group(1) == "-before" and not path.exists():
            left.rename(path)  # it was killed after it had moved this away and before the new one was in its place
        else:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what is needed only while it is made."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / f".{path.name}-work.{os.getpid()}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, at once or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a file's content by JSON, indented for people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def describe_file(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file, for a record of where something comes from."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: where it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None


def read_json(path: Path, expected_format: str, newest_version: int) -> dict[str, Any]:
    """A JSON object that says which format and version it has.

    Raises:
        ValueError: on anything else, and on a version this package does not know yet.
    """
    value = load_json(path)
    if not isinstance(value, dict) or value.get("format") != expected_format:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{path}: expected format {expected_format!r}, got {found!r}")
    version = value.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path}: expected a version, got {version!r}")
    if version > newest_version:
        raise ValueError(f"{path}: expected version {newest_version}, got {version}: a newer tagnn_fast wrote it")
    return value


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of processes that are no more."""
    for path in folder.glob(".*.tmp"):
        process = path.name.split(".")[-2]
        if process.isdigit() and Path(f"/proc/{process}").exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _flush(path: Path) -> None:
    """Wait until the disk has it: a rename must not outlive a crash that the content does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
