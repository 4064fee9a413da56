"""Examples put together again to the sessions that they were cut out of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def put_together(
    examples: Iterable[tuple[object, Sequence[Any], Any]],
) -> tuple[list[list[Any]], list[int]]:
    """Sessions of examples whose prefixes shrink click by click.

    Args:
        examples: of each whose it is, its prefix and its target. Only neighbours of the same owner go together.

    Returns:
        The sessions, and of each how many of its last clicks are targets.
    """
    sessions: list[list[Any]] = []
    counts: list[int] = []
    before: tuple[object, list[Any]] | None = None
    for owner, prefix, target in examples:
        clicks = [*prefix, target]
        if (owner, clicks) == before:
            counts[-1] += 1
        else:
            sessions.append(clicks)
            counts.append(1)
        before = owner, clicks[:-1]
    return sessions, counts
