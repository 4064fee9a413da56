"""Sessions in a Valkey or Redis server, which several replicas of the service share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from tagnn_fast.serving.http.session_store import LIFETIME, StoreGoneError

PREFIX = "tagnn_fast:session:"  # names no model: sessions outlive the one that answers
TIMEOUT = 0.1  # seconds for all that a request asks of the store
PAUSE = 1.0  # seconds that nobody asks after it failed, but one to see whether it is back
CONNECTIONS = 32
URL = "valkey://host:port/database"
GONE = "the session store does not answer"
# One step on the server: two clicks of a session at once both count. An item is its JSON: 5 is another than "5".
_APPEND = """
if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[1] then
  redis.call('RPUSH', KEYS[1], ARGV[1])
  redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('LRANGE', KEYS[1], 0, -1)
"""

_log = logging.getLogger(__name__)
_items = msgspec.json.Decoder(list[int | str])


class ValkeyStore:
    """Sessions in a server, which drops them when they end; see :class:`SessionStore`.

    Connects when it is first asked, and again after the server was away.

    Args:
        url: ``valkey://[user:password@]host:port/database``; valkeys:// for TLS, unix:// for a socket.
        clicks: kept of each session, the latest.
        lifetime: seconds that a session is kept after its last click.

    Raises:
        ValueError: on another URL.
    """

    def __init__(self, url: str, clicks: int, lifetime: float = LIFETIME) -> None:
        # No timeouts of its own, which cost a task for each command: _ask has one for all.
        try:
            if urlsplit(url).scheme != "unix":
                int(urlsplit(url).path[1:] or 0)  # the client takes what is no number for 0
            self._client = Valkey.from_url(url, socket_timeout=None, max_connections=CONNECTIONS)
            self._client.connection_pool.make_connection()  # knows the names after a question mark
        except (ValueError, TypeError):
            raise ValueError(f"sessions: expected memory or {URL}, got another") from None  # it may have a password
        self._script = self._client.register_script(_APPEND)
        self._limits = [clicks, max(1, round(1000 * lifetime))]
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._failed = False
        self._ask_again = 0.0  # when somebody asks a store that failed

    async def append(self, session: str, item: int | str) -> list[int | str]:
        """See :class:`SessionStore`."""
        arguments = [msgspec.json.encode(item), *self._limits]
        return await self._ask(lambda: self._script([PREFIX + session], arguments))

    async def clicks(self, session: str) -> list[int | str]:
        """See :class:`SessionStore`."""
        return await self._ask(lambda: self._client.lrange(PREFIX + session, 0, -1))

    async def forget(self, session: str) -> None:
        """See :class:`SessionStore`."""

        async def delete() -> list[bytes]:
            await self._client.delete(PREFIX + session)
            return []

        await self._ask(delete)

    async def close(self) -> None:
        """See :class:`SessionStore`."""
        await self._client.aclose()
        self._free = asyncio.Semaphore(CONNECTIONS)  # the next event loop's

    async def _ask(self, command: Callable[[], Awaitable[list[bytes]]]) -> list[int | str]:
        """The items that a command answers with, one JSON text each."""
        now = time.monotonic()
        if self._failed:
            if now < self._ask_again:
                raise StoreGoneError(GONE)
            self._ask_again = now + PAUSE
        try:
            answer = await self._answer(command)
            items = _items.decode(b"[%b]" % b",".join(answer))
        except (ValkeyError, OSError, msgspec.MsgspecError) as error:  # a TimeoutError is an OSError
            if not self._failed:
                _log.warning(
                    "the session store failed, clicks are not kept until it is back: %s", str(error) or "no answer"
                )
            self._failed, self._ask_again = True, now + PAUSE
            raise StoreGoneError(GONE) from None
        if self._failed:
            _log.warning("the session store is back")
            self._failed = False
        return items

    async def _answer(self, command: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
        """What the server says; waited for once more where it was this process that stood still, as a model loads."""

        async def ask() -> list[bytes]:
            async with self._free:
                return await command()

        begun, asked = time.monotonic(), asyncio.ensure_future(ask())
        try:
            await asyncio.wait({asked}, timeout=TIMEOUT)
            if not asked.done() and time.monotonic() - begun > 1.5 * TIMEOUT:
                await asyncio.wait({asked}, timeout=TIMEOUT)
            if not asked.done():
                raise TimeoutError
            return asked.result()
        finally:
            asked.cancel()  # where it has not ended
