"""How long an experiment may take, as people write it."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600}


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
