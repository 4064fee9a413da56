"""Ctrl-C and SIGTERM as a wish to stop, not as an end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Training stopped on request, after a checkpoint."""


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Whether the first Ctrl-C or SIGTERM has come; the second Ctrl-C breaks off at once.

    Signals come to a process's main thread alone: in another thread, nothing is asked for.

    Raises:
        Interrupted: where one has come and the block did not stop: whoever is next would not know of it.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        # Nothing that may be in use where the signal came.
        os.write(2, b"\nstopping after this step; press Ctrl-C again to stop without a checkpoint\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            # None where it is not Python's: there is no way back to it, and the default comes nearest.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if asked:
        raise Interrupted("stopped at its end; the same call gives what there is")
