"""Tables of figures for people: printed, and shown in notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import rich.table
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.jupyter import JupyterMixin
from rich.text import Text

_NO_TERMINAL = 1_000_000  # characters of a line


class WideConsole(Console):
    """As wide as its lines where it is no terminal: what another program reads is neither cut nor folded.

    Names and paths are printed as they are.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """Characters and lines."""
        size = super().size
        return size if self.is_terminal or self.is_jupyter else ConsoleDimensions(_NO_TERMINAL, size.height)


class Table(rich.table.Table):
    """A table that cuts nothing: a terminal that is too narrow folds its cells. Its title has lines of its own."""

    def __init__(self, *headers: str, title: str) -> None:
        super().__init__()
        self._heading = title
        for header in headers:
            self.add(header)

    def add(self, header: str, right: bool = False) -> None:
        """Add a column."""
        self.add_column(header, justify="right" if right else "left", overflow="fold")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, then the table."""
        yield Text(self._heading, "table.title")
        yield from super().__rich_console__(console, options)


class Shown(JupyterMixin):
    """What shows itself as tables and lines, printed as well as in a notebook."""

    def shown(self) -> Iterator[Table | Text]:
        """The tables and lines, from top to bottom."""
        raise NotImplementedError

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All of them."""
        yield from self.shown()

    def __str__(self) -> str:
        """The same as text, without colours."""
        output = io.StringIO()
        show(self, WideConsole(file=output, color_system=None, force_terminal=False, force_jupyter=False))
        return output.getvalue().rstrip("\n")


def show(value: Shown, console: Console) -> None:
    """Print tables, and each line as one, however narrow the terminal."""
    for part in value.shown():
        console.print(part, soft_wrap=isinstance(part, Text))


def figures_table(rows: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """Metrics by recommender, in percent."""
    table = Table("", title=title)
    names = list(next(iter(rows.values())))
    for name in names:
        table.add(name, right=True)
    for row, figures in rows.items():
        table.add_row(row, *(f"{figures[name]:.2f}" for name in names))
    return table


def main_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """The metrics at the longest cutoff alone: what fits a terminal."""
    longest = max(int(name.split("@")[1]) for name in figures)
    return {name: value for name, value in figures.items() if name.endswith(f"@{longest}")}
