"""How long an experiment may take: as people write it, and what its trainings have taken over all calls."""

from __future__ import annotations

import re
import reprlib
import time
from pathlib import Path
from typing import Any

from tagnn_fast.files import load_json, write_json
from tagnn_fast.observer import Observer

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_WRITE_EVERY = 5.0  # seconds of training that a killed process may forget


def seconds_of(budget: str) -> float:
    """The seconds of a budget such as ``"90s"``, ``"30m"`` or ``"1.5h"``.

    Raises:
        TypeError: on anything but a string.
        ValueError: on another string, or no time at all.
    """
    wanted = "budget: expected a time such as 90s, 30m or 2h"
    if not isinstance(budget, str):
        raise TypeError(f"{wanted}, got {budget!r}")
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", budget.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{wanted}, got {budget!r}")
    return seconds


class Ledger:
    """Seconds of training of each trial, over all calls: kept in a file while they pass, for a process may be killed.

    Args:
        path: the file.
        budget: seconds for all of them together; None for no end.
    """

    def __init__(self, path: Path, budget: float | None) -> None:
        self._path, self._budget = path, budget
        self.seconds: dict[str, float] = _read(path) if path.exists() else {}
        self._written = self.total

    @property
    def total(self) -> float:
        """Of all trials."""
        return sum(self.seconds.values())

    @property
    def spent(self) -> bool:
        """Whether nothing is left of the budget."""
        return self._budget is not None and self.total >= self._budget

    def add(self, name: str, seconds: float) -> None:
        """Some more seconds of a trial."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        if self.total - self._written >= _WRITE_EVERY:
            self.write()

    def forget(self, name: str) -> None:
        """A trial that is no longer there begins anew."""
        self.seconds.pop(name, None)
        self._written = self.total

    def write(self) -> None:
        """Keep what has passed so far."""
        self.seconds = {name: round(seconds, 3) for name, seconds in self.seconds.items()}
        write_json(self._path, self.seconds)
        self._written = self.total


def _read(path: Path) -> dict[str, float]:
    content = load_json(path)
    if not isinstance(content, dict) or not all(isinstance(value, (int, float)) for value in content.values()):
        raise ValueError(f"{path}: expected seconds by trial, got {reprlib.repr(content)}")
    return content


class Meter(Observer):
    """Tells another observer how a trial goes, keeps the time of its training, and stops it when the budget is spent.

    Args:
        observer: the other.
        name: of the trial, for people.
        entry: its own in the ledger.
        ledger: where the seconds go.

    Attributes:
        stopped: whether the budget has ended the trial.
    """

    def __init__(self, observer: Observer, name: str, entry: str, ledger: Ledger) -> None:
        self._observer, self._name, self._entry, self._ledger = observer, name, entry, ledger
        self._since = time.perf_counter()
        self._trains = True
        self.stopped = False

    def tick(self) -> None:
        """Add what has passed since the last time, unless the test set was being scored."""
        now = time.perf_counter()
        if self._trains:
            self._ledger.add(self._entry, now - self._since)
        self._since = now

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        """See the base class."""
        self.tick()
        self._trains = what != "test"
        self._observer.begin(f"{self._name}: {what}", examples, done)

    def advance(self, examples: int, loss: float | None = None) -> None:
        """See the base class."""
        self.tick()
        self._observer.advance(examples, loss)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class."""
        self.tick()
        self._observer.end_epoch(record)

    def stage(self, what: str) -> None:
        """See the base class."""
        self.tick()
        self._observer.stage(f"{self._name}: {what}")

    def say(self, line: str) -> None:
        """See the base class."""
        self._observer.say(f"{self._name}: {line}")

    def stop(self) -> bool:
        """See the base class."""
        self.stopped = self._trains and self._ledger.spent
        return self.stopped or self._observer.stop()
