"""The values of a model's options that are worth trying: each model declares its own, tuning draws from them.

A model class has them as ``search_space``, a dictionary from an option's name, as :func:`tagnn_fast.fit` or the model
itself takes it, to a :class:`Choice`, a :class:`Whole` or a :class:`Real`. Each holds the option's default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = int | float | str | bool | None


@dataclass(frozen=True)
class Choice:
    """One of some values, in no order.

    Raises:
        ValueError: without any value.
    """

    values: Sequence[Value]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("values: expected at least one, got none")

    def __contains__(self, value: object) -> bool:
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values)

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class _Range:
    """Numbers from `low` to `high`, both among them; with `log`, drawn evenly on a logarithmic scale.

    Raises:
        ValueError: where `low` is not below `high`, or with `log` not above 0.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low: expected a finite number below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: expected more than 0 on a logarithmic scale, got {self.low}")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Whole(_Range):
    """An integer from `low` to `high`, both among them; with `log`, drawn evenly on a logarithmic scale."""

    low: int
    high: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Real(_Range):
    """A number from `low` to `high`, both among them; with `log`, drawn evenly on a logarithmic scale."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high


SearchSpace = Mapping[str, Choice | Whole | Real]

# Of what every network of the package may add to its encoder or do to its vectors.
RECIPE_SPACE: SearchSpace = {
    "cosine_scale": Choice([0.0, 8.0, 12.0, 16.0, 20.0]),
    "item_dropout": Real(0.0, 0.5),
    "recency": Choice(["none", "nodes", "readout"]),
    "highway": Choice([False, True]),
    "neighbour_weight": Real(0.0, 1.0),
    "neighbour_attention": Choice([False, True]),
    "repeats": Choice([False, True]),
    "star": Choice([False, True]),
    "click_counts": Choice([False, True]),
    "edge_counts": Choice([False, True]),
}
