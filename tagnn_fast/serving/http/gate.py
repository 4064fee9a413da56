"""What every request passes on its way in and out: the token, the clock, the log, the end of its connection."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagnn_fast.serving.http.messages import RequestError, error_response
from tagnn_fast.serving.http.service import Service

requests_logger = logging.getLogger(__name__)

_OPEN = {"/", "/live", "/ready", "/v2/health/live", "/v2/health/ready"}  # for probes, and a page that asks for a token


class Gate:
    """Stands before all routes.

    Args:
        app: what is behind it.
        service: whose observer hears of each request.
        paths: of routes, by endpoint.
        token: that requests must bear, None for none.
    """

    def __init__(self, app: ASGIApp, service: Service, paths: Mapping[Any, str], token: str | None) -> None:
        self._app, self._service, self._paths = app, service, paths
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI's)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service
        service.models.watch()  # where nobody runs the lifespan
        began, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if service.draining:  # so that the client's next request goes to another process
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            if self._token is not None and not self._bears_token(scope):
                refused = RequestError(
                    401, None, "Authorization: expected Bearer and the token", {"WWW-Authenticate": "Bearer"}
                )
                await error_response(refused)(scope, receive, send_on)
            else:
                await self._app(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - began
            route = self._paths.get(scope.get("endpoint"), "other")
            service.observer.requested(route, status, seconds)
            if requests_logger.isEnabledFor(logging.INFO):
                milliseconds = round(1000 * seconds, 3)
                found = {"method": scope["method"], "route": route, "status": status, "milliseconds": milliseconds}
                requests_logger.info("%s %s %d", scope["method"], route, status, extra={"request": found})

    def _bears_token(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if path in _OPEN or path.startswith("/page/"):
            return True
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.encode("latin-1").strip(), self._token or b"")
