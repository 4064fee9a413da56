"""The routes of sessions that the service keeps, where it was started with a store for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.serving.http.messages import (
    ClickAnswer,
    ClickRequest,
    ItemId,
    RequestError,
    SessionClicks,
    decode,
    read_body,
    respond,
)
from tagnn_fast.serving.http.models import LoadedModel
from tagnn_fast.serving.http.routes import service_of, session_answer
from tagnn_fast.serving.http.service import Service
from tagnn_fast.serving.http.session_store import MemoryStore, SessionStore, StoreGoneError
from tagnn_fast.serving.http.valkey_store import ValkeyStore
from tagnn_fast.serving.requests import UNKNOWN_ID, integer_id

CLICKS = 100  # kept of a session
SESSION_ID = "[A-Za-z0-9_.:=+@~-]{1,128}"

_CLICK = msgspec.json.Decoder(ClickRequest)


def open_store(sessions: str, most_clicks: int) -> SessionStore:
    """A store of sessions: "memory", or the URL of a server.

    Raises:
        ValueError: on anything else.
    """
    clicks = min(CLICKS, most_clicks)
    return MemoryStore(clicks) if sessions == "memory" else ValkeyStore(sessions, clicks)


async def click(request: Request) -> Response:
    """``POST /v1/sessions/{id}/clicks``: adds a click to the session and answers from all of it."""
    service, store, session = service_of(request), _store(request), _session_id(request)
    asked: ClickRequest = decode(_CLICK, await read_body(request, service.limits.body))
    # All of a session goes to one model.
    model = service.model(asked.model, session if asked.key is None else asked.key, [])
    service.check(model, [[asked.item]], asked, "item")  # what is refused is not kept either
    service.timeout(request)
    asked.item = _as_one_id(model, asked.item)
    kept = await _append(service, store, session, asked)
    # Kept while another model answered, perhaps, whose ids were integers.
    clicks: list[ItemId] = [str(item) for item in kept.clicks] if model.has_strings else kept.clicks
    answer = await service.recommend_by(model, request, [clicks], asked)
    return respond(
        ClickAnswer(
            model.name,
            model.version,
            *session_answer(answer, 0),
            kept.clicks,
            kept.reason is None,
            msgspec.UNSET if kept.reason is None else kept.reason,
        )
    )


async def session(request: Request) -> Response:
    """``GET`` and ``DELETE /v1/sessions/{id}``."""
    store, name = _store(request), _session_id(request)
    try:
        if request.method != "DELETE":
            return respond(SessionClicks(await store.clicks(name)))
        await store.forget(name)
        return Response(status_code=204)
    except StoreGoneError as error:
        raise RequestError(503, None, str(error), {"Retry-After": "1"}) from None


@dataclass(frozen=True)
class _Kept:
    """Clicks to answer from, and why the request's own is not kept, if it is not."""

    clicks: list[ItemId]
    reason: str | None = None


def _as_one_id(model: LoadedModel, item: ItemId) -> ItemId:
    """An integer where the model reads a text as one, so that an item clicked twice in a row is known again."""
    number = UNKNOWN_ID if model.has_strings else integer_id(item)
    return item if number == UNKNOWN_ID else number


async def _append(service: Service, store: SessionStore, session: str, asked: ClickRequest) -> _Kept:
    if not asked.consent:
        return _Kept([asked.item], "no consent")
    try:
        return _Kept(await store.append(session, asked.item))
    except StoreGoneError as error:
        service.observer.not_stored()
        return _Kept([asked.item], str(error))


def _store(request: Request) -> SessionStore:
    store: SessionStore | None = request.app.state.sessions
    if store is None:
        raise RequestError(404, None, "sessions: expected a service that keeps some, got one started without them")
    return store


def _session_id(request: Request) -> str:
    session: str = request.path_params["id"]
    if not re.fullmatch(SESSION_ID, session):
        raise RequestError(422, "id", f"id: expected {SESSION_ID}, got {session!r}")
    return session


ROUTES = [
    Route("/v1/sessions/{id}/clicks", click, methods=["POST"]),
    Route("/v1/sessions/{id}", session, methods=["GET", "DELETE"]),
]
