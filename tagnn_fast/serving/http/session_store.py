"""What shoppers clicked lately, kept between requests: what a store of sessions does, and the one in this process."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

LIFETIME = 30 * 60.0  # seconds after its last click that a session is kept
SESSIONS = 100_000  # in this process; the one that was clicked in longest ago goes first
BYTES = 1 << 29  # the same, of their items


class StoreGoneError(Exception):
    """The store did not answer; its text is for those who asked."""


class SessionStore(Protocol):
    """Keeps the latest clicks of each session, for a while after the last one."""

    async def append(self, session: str, item: int | str) -> list[int | str]:
        """Add a click, which an immediately repeated item is not, and return the session's, oldest first.

        Raises:
            StoreGoneError: where it cannot be reached.
        """

    async def clicks(self, session: str) -> list[int | str]:
        """The items of a session, oldest first; none for a session that is not kept.

        Raises:
            StoreGoneError: where it cannot be reached.
        """

    async def forget(self, session: str) -> None:
        """Drop a session; one that is not kept is no error.

        Raises:
            StoreGoneError: where it cannot be reached.
        """

    async def close(self) -> None:
        """Let go of connections."""


class MemoryStore:
    """Sessions in this process: other replicas do not see them, and they end with it.

    Args:
        clicks: kept of each session, the latest.
        sessions: kept at most.
        size: bytes that their items take at most.
        lifetime: seconds that a session is kept after its last click.
        clock: seconds, rising.
    """

    def __init__(
        self,
        clicks: int,
        sessions: int = SESSIONS,
        size: int = BYTES,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_clicks, self._most_sessions, self._most_bytes = clicks, sessions, size
        self._lifetime, self._clock, self._bytes = lifetime, clock, 0
        # By last click, the oldest first, which is the order in which they end too.
        self._sessions: OrderedDict[str, tuple[float, list[int | str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    async def append(self, session: str, item: int | str) -> list[int | str]:
        """See :class:`SessionStore`."""
        self._drop_ended()
        clicks = self._take(session)
        if clicks[-1:] != [item]:
            clicks = [*clicks, item][-self._most_clicks :]
        self._sessions[session] = (self._clock() + self._lifetime, clicks)
        self._bytes += _size(clicks)
        while len(self._sessions) > self._most_sessions or self._bytes > self._most_bytes:
            self._take(next(iter(self._sessions)))
        return list(clicks)

    async def clicks(self, session: str) -> list[int | str]:
        """See :class:`SessionStore`."""
        self._drop_ended()
        return list(self._sessions.get(session, (0.0, []))[1])

    async def forget(self, session: str) -> None:
        """See :class:`SessionStore`."""
        self._take(session)

    async def close(self) -> None:
        """See :class:`SessionStore`."""
        self._sessions.clear()
        self._bytes = 0

    def _take(self, session: str) -> list[int | str]:
        """The items of a session, which is kept no more."""
        _, clicks = self._sessions.pop(session, (0.0, []))
        self._bytes -= _size(clicks)
        return clicks

    def _drop_ended(self) -> None:
        now = self._clock()
        while self._sessions:
            session, (ends, _) = next(iter(self._sessions.items()))
            if ends > now:
                return
            self._take(session)


def _size(clicks: list[int | str]) -> int:
    return sum(map(sys.getsizeof, clicks))
