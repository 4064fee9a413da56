"""Memory: what the C allocator does with what is freed, and what to say where there is not enough."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next step, with glibc; elsewhere nothing is done.

    By default, gradients as large as the item table go back to the system after each step, and each of their pages is
    faulted in again in the next: a fifth of a step's time at 50 examples of a catalogue of 43,097.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _LARGEST_INT)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Say in a line what needs less memory, where there is not enough for the block.

    Raises:
        MemoryError: in the place of what PyTorch's allocators raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MemoryError(
            f"expected enough for {what}; a lower --max-clicks-per-batch or --batch-size of "
            "`train` needs less, as do shorter sessions (`prepare logs --max-session-clicks`)"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(error) for sign in ("can't allocate memory", "bad_alloc", "out of memory"))
