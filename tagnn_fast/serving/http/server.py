"""uvicorn, ended without losing a request."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import struct
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from tagnn_fast.serving.http.connection import Connection, State
from tagnn_fast.serving.http.service import Service

_HANDSHAKE_SECONDS = 0.1  # for connections that have begun to be there
_SETTLE_SECONDS = 0.25  # after the last connection was accepted, for what it asks to arrive

# Classic BPF over a TCP header, which Linux's SO_ATTACH_FILTER takes: nothing of a segment with SYN, all of others.
_SO_ATTACH_FILTER = 26
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


class Server(uvicorn.Server):
    """Ends in three steps: not ready any more, no new connections, and then all is answered.

    So it does after SIGTERM, and where the service cannot answer any more. Until it listens no more, it answers as
    ever, but closes each connection behind the answer.

    Args:
        application: from :func:`tagnn_fast.serving.app`.
        drain_seconds: between that and the end of listening, for load balancers to look at /ready.
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
        self.server_state: State = State(application)

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
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.abort_if_slow()
        if self._service.draining and self._listens_until == float("inf"):  # without a signal
            self._listens_until = time.monotonic() + self._drain_seconds
        return await super().on_tick(counter) or time.monotonic() >= self._listens_until

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what the system has accepted for us, listen no more, and answer all that is there."""
        for listener in sockets or []:
            _let_none_begin(listener)
        await asyncio.sleep(0 if self.force_exit else _HANDSHAKE_SECONDS)
        accepted = [connection for listener in sockets or [] for connection in _accept_all(listener)]
        for server in self.servers:
            server.close()  # the listener's descriptor is uvloop's: to close it here would close it twice
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
        ValueError: on a number that is no port.
    """
    if not 0 <= port <= 65535:  # the system would take what is left of it by 65536
        raise ValueError(f"port: expected 0..65535, got {port}")
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


def _let_none_begin(listener: socket.socket) -> None:
    """Have the system drop what begins a connection: one that was complete when the listener closes would be reset.

    A client's second try, a second later, finds nobody listening.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    with suppress(OSError):  # a system without it resets some
        filtered = struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtered)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """Connections that are waiting: closing the listener would reset them."""
    accepted = []
    listener.setblocking(False)
    while True:
        try:
            accepted.append(listener.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionError):
            return accepted
