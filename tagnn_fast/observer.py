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


class Observers(Observer):
    """Tells several observers; stops where one of them does.

    Args:
        observers: told one after the other.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        for observer in self._observers:
            observer.begin(what, examples, done)

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        for observer in self._observers:
            observer.advance(examples, loss)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class."""
        for observer in self._observers:
            observer.end_epoch(record)

    def stage(self, what: str) -> None:
        """See the base class."""
        for observer in self._observers:
            observer.stage(what)

    def say(self, line: str) -> None:
        """See the base class."""
        for observer in self._observers:
            observer.say(line)

    def stop(self) -> bool:
        """See the base class."""
        return any(observer.stop() for observer in self._observers)
