"""Progress bars, in terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tagnn_fast.observer import Observer


@contextmanager
def shown(observer: Observer | None) -> Iterator[Observer]:
    """The observer; or, for None, a progress bar while the block runs."""
    if observer is not None:
        yield observer
        return
    with progress_bar() as progress:
        yield ProgressObserver(progress)


def progress_bar(console: Console | None = None) -> Progress:
    """A bar with what is done, sessions per second, and the time that remains; or that it took, if there is no end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        _Done(),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        _Time(),
        console=console or Console(markup=False, emoji=False, highlight=False),  # made now: it looks where it is
        speed_estimate_period=60,
        transient=True,
    )


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:,.0f} of {task.total:,.0f}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} sessions/s" if speed else "", style="progress.data.speed")


class _Time(ProgressColumn):
    def __init__(self) -> None:
        super().__init__()
        self._elapsed, self._remaining = TimeElapsedColumn(), TimeRemainingColumn()

    def render(self, task: Task) -> Text:
        return (self._elapsed if task.total is None else self._remaining).render(task)


class ProgressObserver(Observer):
    """Shows what goes on in a progress bar and each finished epoch in a line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        self._show(what, examples, done)
        self._whose, _, self._scored = what.rpartition(": ")  # by the end of an epoch, what was scored after it

    def stage(self, what: str) -> None:
        """See the base class."""
        self._show(what, None, 0)

    def _show(self, what: str, total: int | None, done: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, completed=done, note="")

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        assert self._task is not None
        self._progress.advance(self._task, examples)
        if loss is not None:
            self._progress.update(self._task, note=f"loss {loss:.4f}")

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class."""
        seconds = record["training_seconds"]
        epoch = f"epoch {record['epoch']}" + (" on all sessions" if record.get("refit") else "")
        whose = f"{self._whose}: " if self._whose else ""  # one of several trainings, which has a name
        line = f"{whose}{epoch}: training loss {record['training_loss']:.4f}, {seconds:,.0f} s"
        for name, value in record.get("validation", {}).items():
            if name in ("HR@20", "MRR@20"):
                line += f", {self._scored} {name} {value:.2f}"
        self.say(line)

    def say(self, line: str) -> None:
        """See the base class."""
        self._progress.console.print(line, soft_wrap=True)
