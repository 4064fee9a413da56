"""Files and folders that are whole or not there, whatever stops the process that makes them.

What is being made lies in a folder beside its place, ``.NAME.RANDOM.tmp``, with a file in it that the process keeps
locked: the lock is the sign of life, whatever the number of a process that comes after. There it is renamed from.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import reprlib
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LOCK, _NEW, _BEFORE, _WORK = "tagnn_fast.lock", "new", "before", "work"
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")


def check_new_folder(path: Path, replaces: Collection[str] | None = None) -> None:
    """Refuse a folder that must not be written; what killed processes left of it is cleared up first.

    Args:
        path: of the folder.
        replaces: names of the files that a folder in its place may have, and no others; the first is one that it must
            have. None where nothing may be there.

    Raises:
        FileExistsError: where something else is there.
    """
    clear_up(path)
    if not os.path.lexists(path):
        return
    if replaces is None:
        raise FileExistsError(f"{path}: expected a folder that does not exist yet")
    known = next(iter(replaces))
    if not (path / known).is_file():
        raise FileExistsError(f"{path}: expected a folder with a {known} to replace, got something else")
    remove_leftovers(path)
    _refuse_others(path, path, replaces)


def _refuse_others(folder: Path, path: Path, replaces: Collection[str]) -> None:
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in replaces)
    if others:
        raise FileExistsError(
            f"{path}: expected nothing in it but {', '.join(replaces)}, since all of it is replaced; got "
            f"{', '.join(others[:5])}{', …' if len(others) > 5 else ''}: move it away first"
        )


@contextmanager
def new_folder(path: Path, replaces: Collection[str] | None = None) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` when the block ends well and is removed when it does not.

    Args:
        path: of the folder.
        replaces: see :func:`check_new_folder`; a folder that is there stays until the new one takes its place.

    Raises:
        FileExistsError: see :func:`check_new_folder`.
    """
    check_new_folder(path, replaces)
    path = path.resolve()
    with _own_folder(path) as own:
        new, before = own / _NEW, own / _BEFORE
        new.mkdir()
        yield new
        for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
            remove_leftovers(folder)  # of files in it that were written, and not cleared up after
        for file in (*new.rglob("*"), new):
            flush(file)
        if replaces is not None and path.exists():
            path.rename(before)
            _refuse_others(before, path, replaces)  # nobody can add to it any more
        try:
            new.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise FileExistsError(f"{path}: expected a folder that nobody else makes meanwhile, got one") from None
        flush(path.parent)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` when the block ends well and is removed when it does not."""
    path = path.resolve()
    with _own_folder(path) as own:
        temporary = own / path.name
        try:
            yield temporary
            flush(temporary)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # a full disk, to a write that knows no name
                error.filename = str(path)
            raise
        temporary.replace(path)
        flush(path.parent)


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what is needed only while it is made."""
    with _own_folder(path.resolve()) as own:
        (own / _WORK).mkdir()
        yield own / _WORK


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes from replacing `path` while the block reads it, computes and replaces it.

    What killed processes left of it is cleared up first.

    Raises:
        BlockingIOError: where another process is in such a block.
        OSError: where the folder it lies in cannot be written, or has no locks.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.{_LOCK}")
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BlockingIOError(f"{path}: expected a folder that no other process writes, got one that is") from None
        except OSError:
            os.close(lock)
            raise
        if _is_at(lock, file):
            break
        os.close(lock)  # whoever had it has removed it
    try:
        clear_up(path)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def clear_up(path: Path) -> None:
    """Put back what killed processes moved away from `path`, and remove what else they left when they made it."""
    path = path.resolve()
    for folder in path.parent.glob(".*.tmp"):
        if _target(folder) == path:
            _settle_leftover(folder, path)
    if not path.exists():
        _put_back_as_named_before(path)


def is_replaced_now(path: Path) -> bool:
    """Whether a process has moved away what was at `path`, and not yet put something new there."""
    path = path.resolve()
    moved = (folder for folder in path.parent.glob(".*.tmp") if _target(folder) == path and (folder / _BEFORE).exists())
    return not os.path.lexists(path) and any(moved)


def remove_leftovers(folder: Path) -> None:
    """Clear up after killed processes that made something in this folder."""
    for path in folder.glob(".*.tmp"):
        target = _target(path)
        if target is not None:
            _settle_leftover(path, target)


@contextmanager
def _own_folder(path: Path) -> Iterator[Path]:
    """A folder of this process beside `path`, locked while the block runs and settled when it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_up(path)
    folder, lock = _make_own_folder(path)
    try:
        yield folder
    finally:
        try:
            with suppress(OSError):  # what cannot be put back now can be by who comes next
                _settle(folder, path)
        finally:
            os.close(lock)


def _make_own_folder(path: Path) -> tuple[Path, int]:
    while True:
        folder = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        folder.mkdir()
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            continue  # somebody who cleared up took it for a leftover
        except BaseException:
            with suppress(OSError):
                folder.rmdir()
            raise
        with suppress(OSError):  # without locks, nobody can tell a leftover, and nobody removes one
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_at(lock, folder / _LOCK):
            return folder, lock
        os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _target(folder: Path) -> Path | None:
    """What a process made in a folder of this name, if it is one of ours."""
    found = _LEFTOVER.fullmatch(folder.name)
    return folder.with_name(found.group(1)) if found and folder.is_dir() and not folder.is_symlink() else None


def _settle_leftover(folder: Path, path: Path) -> None:
    """Settle a folder whose process is no more."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        with suppress(OSError):  # an empty one was killed before it had a lock; one with files in it is not ours
            folder.rmdir()
        return
    except OSError:
        return  # nobody who may not write here can tell
    try:
        with suppress(OSError):  # it is locked: it lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _settle(folder, path)
    finally:
        os.close(lock)


def _settle(folder: Path, path: Path) -> None:
    """Put back what was moved away from `path`, unless something new is in its place; then remove the folder."""
    before = folder / _BEFORE
    if before.exists():
        if not os.path.lexists(path):
            before.rename(path)
            flush(path.parent)
        elif (folder / _NEW).exists():
            return  # what is there now came from somebody else, and this may be the only copy
    for entry in folder.iterdir():
        if entry.name == _LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (folder / _LOCK).unlink()  # last: a folder without is not known as ours
    folder.rmdir()


def _put_back_as_named_before(path: Path) -> None:
    """Earlier versions moved what they replaced to ``.NAME-before.PROCESS.tmp``."""
    name = re.compile(rf"\.{re.escape(path.name)}-before\.\d+\.tmp")
    left = [folder for folder in path.parent.glob(".*.tmp") if name.fullmatch(folder.name) and folder.is_dir()]
    if left:
        max(left, key=lambda folder: folder.stat().st_mtime).rename(path)


def flush(path: Path) -> None:
    """Wait until the disk has it: a rename must not outlive a crash that the content does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, at once or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a file's content by JSON, indented for people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def describe_file(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file, for a record of where something comes from."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
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
        raise ValueError(f"{path}: expected format {expected_format!r}, got {reprlib.repr(found)}")
    version = value.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path}: expected a version, got {reprlib.repr(version)}")
    if version > newest_version:
        raise ValueError(f"{path}: expected version {newest_version}, got {version}: a newer tagnn_fast wrote it")
    return value
