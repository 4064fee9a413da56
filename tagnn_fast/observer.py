"""How work that takes long tells what it does."""

from __future__ import annotations

from typing import Any


class Observer:
    """What a run, an evaluation or a preparation tells while it goes on. Does nothing; subclasses show it."""

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """An epoch or an evaluation begins, with so many of its examples done already."""

    def advance(self, examples: int, loss: float | None = None) -> None:
        """Some more examples are done; the mean loss of the epoch so far, now and then."""

    def end_epoch(self, record: dict[str, Any]) -> None:
        """An epoch has ended; its record, as in ``history.json``."""

    def stage(self, what: str) -> None:
        """A stage of work begins whose size nobody knows."""

    def say(self, line: str) -> None:
        """Something has happened that is worth a line."""

    def stop(self) -> bool:
        """Whether a training is to stop, asked after each step: it writes a checkpoint and raises KeyboardInterrupt."""
        return False
