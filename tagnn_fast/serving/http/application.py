"""The application: every route, and what stands around them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tagnn_fast.checks import check_count
from tagnn_fast.extras import needed_by
from tagnn_fast.serving.http import (
    description,
    inference_protocol,
    item_routes,
    metrics,
    page_routes,
    routes,
    session_routes,
)
from tagnn_fast.serving.http.gate import Gate
from tagnn_fast.serving.http.messages import RequestError, error_response
from tagnn_fast.serving.http.models import Models, models_by_name
from tagnn_fast.serving.http.scoring_queue import ClientGone
from tagnn_fast.serving.http.service import TIMEOUT_HEADER, Limits, Service
from tagnn_fast.serving.http.session_routes import open_store
from tagnn_fast.serving.served_model import FormatName, ServedModel


def app(
    folders: str | Path | Iterable[str | Path] | Mapping[str, str | Path | ServedModel],
    *,
    format: FormatName = "torchscript",
    split: Mapping[str, float] | None = None,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    threads: int = 1,
    sessions: str | None = None,
    token: str | None = None,
    allow_origins: Iterable[str] = (),
    tracing: bool = False,
) -> Starlette:
    """A service of exported models, to be run by uvicorn or mounted in another application.

    The models are loaded here; threads start with the first request, so that a process may fork before. Mounted, its
    lifespan need not be run: threads end with the process then.

    Args:
        folders: what ``tagnn-fast export`` wrote, one or several; "name=folder" gives a model another name than its
            folder's. Or folders by name, or what :func:`tagnn_fast.serving.served_in_shards` gave.
        format: to load: "torchscript", "program" or "compiled".
        split: percent of the requests that ask for no model by name, for each model; None: the first gets all.
        limits: of each request and of the queue.
        threads: of PyTorch, on the one thread that scores.
        sessions: where clicks are kept between requests: "memory" or a server's "valkey://host:port/database"; None for
            a service to which every request brings its whole session.
        token: that requests must bear (``Authorization: Bearer ...``), except the page and what probes ask; None: none.
        allow_origins: whose pages in a browser may ask, like "https://shop.example"; "*" for any.
        tracing: let OpenTelemetry's middleware report requests to the tracer provider that this process has.

    Raises:
        FileNotFoundError, ValueError: see :func:`tagnn_fast.serving.load`; on names or a split that do not fit, or an
            empty token.
        TypeError, FloatingPointError: on `threads` that are no int, or a model whose answers are not finite.
        ModuleNotFoundError: without the package that `tracing` needs.
    """
    if token is not None and not token.strip():
        raise ValueError("token: expected some characters, got none")
    check_count(threads, "threads")
    observer = metrics.Metrics()
    store = None if sessions is None else open_store(sessions, limits.clicks)
    models = Models(models_by_name(folders), format, split, observer)
    service = Service(models, limits, threads, observer)
    all_routes: list[BaseRoute] = [
        *routes.ROUTES,
        *session_routes.ROUTES,
        *item_routes.ROUTES,
        *inference_protocol.ROUTES,
        *metrics.ROUTES,
        *description.ROUTES,
        *page_routes.ROUTES,
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.close)
        if store is not None:
            await store.close()

    application = Starlette(
        routes=all_routes,
        middleware=[*_outer(tuple(allow_origins), tracing), _gate(service, all_routes, token)],
        exception_handlers={
            RequestError: _refuse,
            HTTPException: _refuse_by_router,
            ClientGone: _nobody,
            ClientDisconnect: _nobody,
            Exception: _fail,
        },
        lifespan=lifespan,
    )
    application.state.service, application.state.metrics, application.state.sessions = service, observer, store
    weakref.finalize(application, service.close)  # where nobody runs the lifespan
    return application


def _gate(service: Service, all_routes: Iterable[BaseRoute], token: str | None) -> Middleware:
    paths = {route.endpoint: route.path for route in all_routes if isinstance(route, Route)}
    return Middleware(Gate, service=service, paths=paths, token=None if token is None else token.strip())


def _outer(allow_origins: tuple[str, ...], tracing: bool) -> Iterator[Middleware]:
    """What stands before the gate, where it is asked for."""
    if tracing:
        with needed_by("tracing"):
            from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        yield Middleware(OpenTelemetryMiddleware, excluded_urls="/live,/ready,/metrics")
    if allow_origins:
        headers = ("Authorization", "Content-Type", TIMEOUT_HEADER)
        yield Middleware(
            CORSMiddleware, allow_origins=allow_origins, allow_methods=("GET", "POST", "DELETE"), allow_headers=headers
        )


async def _refuse(_: Request, error: Any) -> Response:
    return error_response(error)


async def _refuse_by_router(request: Request, error: Any) -> Response:
    allowed = (error.headers or {}).get("Allow")
    reason = f"expected {allowed}, got {request.method}" if allowed else "no such path"
    path = request.url.path
    refusal = RequestError(error.status_code, None, f"{path}: {reason}", error.headers)
    return inference_protocol.own_error(refusal) if path.startswith("/v2/") else error_response(refusal)


async def _nobody(_: Request, error: Any) -> Response:
    return Response(status_code=499)


async def _fail(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the server's log has it, the client a sentence."""
    return error_response(RequestError(500, None, f"{request.url.path}: failed; the log says why"))
