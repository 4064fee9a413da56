"""Memory: what this process may use, what the C allocator does with what is freed, what to say where it is short."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt
_LARGEST_INT = 2**31 - 1


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of the smallest limit of this process's control groups and those above them.

    In a container that is less than the machine has.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(root)])


def available_memory() -> int:
    """Bytes that this process could still take without anything being swapped out, as far as can be known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        free = []
    return min([usable_memory(), *free])


def _limits(root: Path) -> list[int]:
    """What control groups say, of either version; groups without a limit say "max", or a number beyond any memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the group may be named as outside, and its folder be the mounted one.
        folder = mounted / group.strip("/")
        for place in (folder, *folder.parents):
            limits += _number(place / name)
            if place == mounted:
                break
    return limits


def _number(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []


def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next step, with glibc; elsewhere nothing is done.

    By default, gradients as large as the item table go back to the system after each step, and each of their pages is
    faulted in again in the next: a fifth of a step's time at 50 examples of a catalogue of 43,097.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST_INT)


def release_freed_memory() -> None:
    """Give freed memory back to the system, with glibc; elsewhere nothing is done."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of its allocator; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


class NotEnoughMemoryError(MemoryError):
    """There is not enough memory for what the message names."""


@contextmanager
def enough_memory(what: str, less: str = "") -> Iterator[None]:
    """Say in a line what needs less memory, where there is not enough for the block.

    Args:
        what: is done in the block.
        less: options that need less, to be named before shorter sessions, which do always.

    Raises:
        NotEnoughMemoryError: in the place of what PyTorch's allocators raise; one from within the block stays as it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, NotEnoughMemoryError) or not is_out_of_memory(error):
            raise
        shorter = "shorter sessions (`prepare logs --max-session-clicks`)"
        needs = f"{less} needs less, as do {shorter}" if less else f"{shorter} need less"
        raise NotEnoughMemoryError(f"expected enough for {what}; {needs}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch, its compiled code or Python ran out of memory, which on the CPU only the text says."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    signs = "can't allocate memory", "bad_alloc", "out of memory"
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
