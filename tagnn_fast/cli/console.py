"""Where the commands print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tagnn_fast.tables import WideConsole

console = WideConsole()
errors = WideConsole(stderr=True)


def say(line: str, style: str | None = None) -> None:
    """Print a line as one, however narrow the terminal: paths and commands are there to be copied."""
    console.print(line, style=style, soft_wrap=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Where what a signal stops goes on with the same command: say so, and end with the status of one that was."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        errors.print(f"{str(stopped) or 'stopped'}\ngo on with the same command", soft_wrap=True)
        raise typer.Exit(130) from None
