"""uvicorn, ended without losing a request, and without patience for clients that keep a connection and ask nothing."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tagnn_fast.serving.http.service import Service

logger = logging.getLogger(__name__)

_HEADER_BYTES = 1 << 16
_REQUEST_SECONDS = 20.0  # for a request to arrive, and for the first one of a connection to begin
_SETTLE_SECONDS = 0.25  # after the last connection was accepted, for what it asks to arrive
_SPARE_DESCRIPTORS = 64  # for files, and for connections to others


class Connection(HttpToolsProtocol):
    """A connection whose requests must arrive soon, with short headers; one of a bounded number."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.waiting_since: float | None = time.monotonic()
        self._in_headers, self._header_bytes = False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > _most_connections():
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`. The parser keeps a header until it ends."""
        began_before = self._in_headers
        super().data_received(data)
        if began_before and self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > _HEADER_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """The first bytes of a request are here."""
        self.waiting_since, self._in_headers, self._header_bytes = time.monotonic(), True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """All of its headers are."""
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is."""
        self.waiting_since = None
        super().on_message_complete()


class Server(uvicorn.Server):
    """Ends in three steps after SIGTERM: not ready any more, no new connections, and then all is answered.

    Until it listens no more, it answers as ever, but closes each connection behind the answer.

    Args:
        application: from :func:`tagnn_fast.serving.app`.
        drain_seconds: between SIGTERM and the end of listening, for load balancers to look at /ready.
    """

    def __init__(self, application: Starlette, drain_seconds: float) -> None:
        self._service: Service = application.state.service
        self._drain_seconds, self._listens_until = drain_seconds, float("inf")
        config = uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            loop="uvloop",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,  # longer than load balancers keep theirs: whoever closes first must be they
            timeout_graceful_shutdown=round(self._service.limits.timeout + 5),
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end: at once where it is the second, or Ctrl-C."""
        if self._service.draining:
            self.force_exit = True
        self._service.draining = True
        at_once = self.force_exit or sig == signal.SIGINT
        self._listens_until = time.monotonic() + (0 if at_once else self._drain_seconds)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        if counter % 10 == 0:
            late = time.monotonic() - _REQUEST_SECONDS
            for connection in list(self.server_state.connections):
                waiting_since = getattr(connection, "waiting_since", None)
                if waiting_since is not None and waiting_since < late:
                    connection.transport.abort()
        return await super().on_tick(counter) or time.monotonic() >= self._listens_until

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what the system has accepted for us, listen no more, and answer all that is there."""
        for listener in sockets or []:
            accepted = _accept_all(listener)
            listener.close()
            for server in self.servers:
                server.close()
            for connection in accepted:
                await asyncio.get_running_loop().connect_accepted_socket(self._connection, connection)
        await asyncio.sleep(0 if self.force_exit else _SETTLE_SECONDS)
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free.

    Raises:
        OSError: where it cannot, with the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise OSError(f"{host}:{port}: expected an address to listen at: {error.strerror}") from None
    return listener


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """Connections that are waiting: closing the listener would reset them."""
    accepted = []
    listener.setblocking(False)
    while True:
        try:
            accepted.append(listener.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionError):
            return accepted


def _most_connections() -> int:
    return max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS)
