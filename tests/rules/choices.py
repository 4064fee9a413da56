"""One example's choices, by its number."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Choices:
    """One example's choices.

    Attributes:
        messy: whether anything is wrong with its log.
        alike: whether every engine takes it alike.
        paper: whether it asks for the published preprocessing.
        hours: that it is over, more or less.
        first, middle, last: times of its clicks.
        time: how they are written.
    """

    paper: bool
    hours: int
    first: int
    middle: int
    last: int
    time: Callable[[int], str]

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.seed, self.folder = seed, folder
        self.messy = self.chance(0.7)
        self.alike = True

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    def mess(self, of: float) -> bool:
        return self.messy and self.chance(of)

    def one(self, *values: Any) -> Any:
        return self.random.choice(values)
