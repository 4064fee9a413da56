"""Where the commands print."""

from __future__ import annotations

from tagnn_fast.tables import WideConsole

console = WideConsole()
errors = WideConsole(stderr=True)


def say(line: str, style: str | None = None) -> None:
    """Print a line as one, however narrow the terminal: paths and commands are there to be copied."""
    console.print(line, style=style, soft_wrap=True)
