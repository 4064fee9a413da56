"""What shoppers clicked lately, kept between requests: what a store of sessions does, and the one in this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

LIFETIME = 30 * 60.0  # seconds after its last click that a session is kept
SESSIONS = 100_000  # in this process; the one that was clicked in longest ago goes first


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
        lifetime: seconds that a session is kept after its last click.
        clock: seconds, rising.
    """

    def __init__(
        self,
        clicks: int,
        sessions: int = SESSIONS,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_clicks, self._most_sessions, self._lifetime, self._clock = clicks, sessions, lifetime, clock
        # By last click, the oldest first, which is the order in which they end too.
        self._sessions: OrderedDict[str, tuple[float, list[int | str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    async def append(self, session: str, item: int | str) -> list[int | str]:
        """See :class:`SessionStore`."""
        self._drop_ended()
        _, clicks = self._sessions.pop(session, (0.0, []))
        if clicks[-1:] != [item]:
            clicks = [*clicks, item][-self._most_clicks :]
        self._sessions[session] = (self._clock() + self._lifetime, clicks)
        if len(self._sessions) > self._most_sessions:
            self._sessions.popitem(last=False)
        return list(clicks)

    async def clicks(self, session: str) -> list[int | str]:
        """See :class:`SessionStore`."""
        self._drop_ended()
        return list(self._sessions.get(session, (0.0, []))[1])

    async def forget(self, session: str) -> None:
        """See :class:`SessionStore`."""
        self._sessions.pop(session, None)

    async def close(self) -> None:
        """See :class:`SessionStore`."""
        self._sessions.clear()

    def _drop_ended(self) -> None:
        now = self._clock()
        while self._sessions:
            ends, _ = next(iter(self._sessions.values()))
            if ends > now:
                return
            self._sessions.popitem(last=False)
