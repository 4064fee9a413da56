"""uvicorn's HTTP connection, with no patience for clients that ask nothing, and few words where there are too many.

The loop that reads requests is a queue as well: what it has taken up and not answered is bounded as the sessions that
wait for the scoring thread are, and what is beyond is refused before a task is made of it, at a tenth of the price.
"""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import suppress
from typing import Any

import httptools
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tagnn_fast.serving.http.messages import error_response
from tagnn_fast.serving.http.service import Service, too_many

_HEADER_BYTES = 1 << 16
_REQUEST_SECONDS = 20.0  # for a request to arrive, for the first of a connection to begin, for answers to be taken
_SPARE_DESCRIPTORS = 64  # for files, and for connections to others


class State(ServerState):
    """What connections share.

    Args:
        application: that answers.

    Attributes:
        service: the application's.
        unanswered: connections with a request that is here to the last byte and not answered; those behind it wait.
    """

    def __init__(self, application: Starlette) -> None:
        super().__init__()
        self.service: Service = application.state.service
        self.unanswered = 0
        self._routes = [route for route in application.routes if isinstance(route, Route)]

    def route(self, path: str) -> str:
        """What metrics call the route of a path."""
        return next((route.path for route in self._routes if route.path_regex.match(path)), "other")


class _Parser:
    """The parser of a connection's requests, which goes on where a client offers to speak another protocol.

    httptools leaves off at such a request, with its body unread. Java's client offers HTTP/2 with each first request.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self._connection)
        with suppress(AttributeError):  # of httptools before 0.6.3; as uvicorn does
            self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:
        """Tell the connection of all that is in these bytes."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._connection.offers_upgrade:
                raise
            head = self._connection.head_without_offer()
            self._begin()
            self.feed_data(head + data[offer.args[0] :])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class Connection(HttpToolsProtocol):
    """A connection of a bounded number, whose client sends requests soon, with short headers, and reads the answers.

    Args:
        config: of the server.
        server_state: what all connections share.
        options: of uvicorn's.
    """

    def __init__(self, config: Config, server_state: State, **options: Any) -> None:
        super().__init__(config, server_state, **options)
        self.parser: Any = _Parser(self)
        self._state, self._unanswered = server_state, 0
        self._waiting_since: float | None = time.monotonic()
        self._in_headers, self._header_bytes = False, 0
        self._full_since: float | None = None  # of answers that the client does not read
        self._running: RequestResponseCycle | None = None  # uvicorn's own is that of the latest request
        self._refuses, self._keeps = False, True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > _most_connections():
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._state.unanswered -= int(self._unanswered > 0)
        self._unanswered = 0
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._full_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._full_since = None
        super().resume_writing()

    def abort_if_slow(self) -> None:
        """End the connection where a request of it takes too long to arrive, or nobody takes its answers."""
        longest_ago = time.monotonic() - _REQUEST_SECONDS
        if any(since is not None and since < longest_ago for since in (self._waiting_since, self._full_since)):
            self.transport.abort()

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
        self._waiting_since, self._in_headers, self._header_bytes = time.monotonic(), True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """All of its headers are."""
        self._in_headers = False
        if self.offers_upgrade:
            return  # comes again without the offer
        answered = self.cycle is None or self.cycle.response_complete
        service = self._state.service
        crowded = self._state.unanswered >= service.limits.queue and not service.draining
        self._refuses = crowded and answered and self.parser.get_method() == b"POST"
        if not self._refuses:
            super().on_headers_complete()
            if answered:
                self._running = self.cycle
        elif self.expect_100_continue:  # its body would come only when asked for
            self._keeps = False
            self._refuse()
        else:
            self._keeps = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A part of its body is."""
        if not self._refuses:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is."""
        if self.offers_upgrade:
            return
        self._waiting_since = None
        if self._refuses:
            self._refuse()
            self._refuses = False
            return
        if not self.cycle.response_complete:
            self._state.unanswered += int(self._unanswered == 0)
            self._unanswered += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered."""
        if self._unanswered:
            self._unanswered -= 1
            self._state.unanswered -= int(self._unanswered == 0)
        self._running = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()

    @property
    def offers_upgrade(self) -> bool:
        """Whether the request's headers, which are here, offer another protocol. CONNECT is no offer."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def head_without_offer(self) -> bytes:
        """What such a request begins with if it is taken for one that offers nothing."""
        first = self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()
        lines = [first]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self) -> None:
        """What the application would say of a full queue; its metrics count it, its log has no line of it."""
        if self.transport.is_closing():
            return  # it was said already
        self.transport.write(_REFUSAL)
        path = self.url.partition(b"?")[0].decode("latin-1")
        self._state.service.observer.requested(self._state.route(path), 503, 0.0)
        if self._keeps:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()


def _most_connections() -> int:
    return max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS)


def _ready_made() -> bytes:
    answer = error_response(too_many())
    head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + head + b"\r\n" + bytes(answer.body)


_REFUSAL = _ready_made()
