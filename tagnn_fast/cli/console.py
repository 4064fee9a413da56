"""What the commands print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich.table
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tagnn_fast.observer import Observer

_NO_TERMINAL = 1_000_000  # characters of a line


class _Console(Console):
    """As wide as its lines where it is no terminal: what another program reads is neither cut nor folded."""

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """Characters and lines."""
        size = super().size
        return size if self.is_terminal else ConsoleDimensions(_NO_TERMINAL, size.height)


# Names and paths are printed as they are.
console = _Console(markup=False, emoji=False, highlight=False)
errors = _Console(stderr=True, markup=False, emoji=False, highlight=False)


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


def say(line: str, style: str | None = None) -> None:
    """Print a line as one, however narrow the terminal: paths and commands are there to be copied."""
    console.print(line, style=style, soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} sessions/s" if speed else "", style="progress.data.speed")


def progress_bar() -> Progress:
    """A bar with what is done, sessions per second, and the time that remains."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=60,
        transient=True,
    )


@contextmanager
def stage_bar() -> Iterator[Callable[[str], None]]:
    """A bar for work of unknown size: gets the name of each stage when it begins, shows how long it takes."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda stage: progress.update(task, description=stage)


class ProgressObserver(Observer):
    """Shows a run in a progress bar and each finished epoch in a line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._scored = what  # by the end of an epoch, what was scored after it
        self._task = self._progress.add_task(what, total=examples, completed=done, note="")

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        assert self._task is not None
        self._progress.advance(self._task, examples)
        if loss is not None:
            self._progress.update(self._task, note=f"loss {loss:.4f}")

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class."""
        seconds = record["training_seconds"]
        line = f"epoch {record['epoch']}: training loss {record['training_loss']:.4f}, {seconds:,.0f} s"
        for name, value in record.get("validation", {}).items():
            if name in ("HR@20", "MRR@20"):
                line += f", {self._scored} {name} {value:.2f}"
        self._progress.console.print(line, soft_wrap=True)


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
