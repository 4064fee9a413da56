"""A process that stops at one of its calls that change the disk, or is told there that the disk is full or broken."""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

CHANGES = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "fsync", "truncate", "ftruncate", "chmod", "link")


class Killed(BaseException):
    """The process is no more; nothing that it still does reaches the disk."""


class Disk:
    """Counts the calls that change the disk, and stops at one of them.

    Args:
        stop_at: number of the call, from 1; None for none.
        error: what the call raises, once; None for the end of the process.
    """

    def __init__(self, stop_at: int | None = None, error: OSError | None = None) -> None:
        self.stop_at, self.error = stop_at, error
        self.calls = 0
        self.locks: list[int] = []

    @property
    def stopped(self) -> bool:
        """Whether it came to that call."""
        return self.stop_at is not None and self.calls >= self.stop_at

    def _count(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # those of others come at any time
            if self.stopped and self.error is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return
        self.calls += 1
        if self.stop_at is None or self.calls < self.stop_at:
            return
        if self.error is None:
            raise Killed
        if self.calls == self.stop_at:
            raise self.error

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self._count()
            return function(*arguments, **more)

        return call

    @contextmanager
    def in_use(self) -> Iterator[Disk]:
        """All of this process's calls go through here; what a killed process had locked is free afterwards."""
        open_file, open_descriptor, flock = io.open, os.open, fcntl.flock

        def count_open(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            if set(mode) & set("wax+") and str(file) != os.devnull:
                self._count()
            return open_file(file, mode, *arguments, **more)

        def count_open_descriptor(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self._count()
            return open_descriptor(path, flags, *arguments, **more)

        def lock(file: Any, how: int) -> None:
            flock(file, how)
            if isinstance(file, int):  # file objects are closed where they are used
                self.locks.append(file)

        changes = {name: self._counted(getattr(os, name)) for name in CHANGES}
        with (
            mock.patch.multiple(os, **changes, open=count_open_descriptor),
            mock.patch.object(io, "open", count_open),
            mock.patch.object(builtins, "open", count_open),
            mock.patch.object(fcntl, "flock", lock),
        ):
            try:
                yield self
            finally:
                for descriptor in self.locks:
                    with suppress(OSError):  # closed by who had it
                        flock(descriptor, fcntl.LOCK_UN)
