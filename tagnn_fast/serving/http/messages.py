"""What requests say and what they are answered: parsed once, at the border."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

ItemId = int | str
Answered = Literal["model", "popularity"]


class RequestError(Exception):
    """What is wrong with a request, or why it cannot be answered.

    Args:
        status: of HTTP.
        field: of the request that is at fault, None where it is none of them.
        message: one line; begins with the field's name where there is one.
        headers: of the answer.
    """

    def __init__(self, status: int, field: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.message, self.headers = status, field, message, headers


class Choices(msgspec.Struct, forbid_unknown_fields=True):
    """What every request for recommendations may ask for."""

    k: int = 20
    candidates: list[ItemId] | None = None
    exclude: list[ItemId] = []
    exclude_clicked: bool = False
    model: str | None = None
    key: str | None = None


class RecommendRequest(Choices, forbid_unknown_fields=True):
    """``POST /v1/recommend``: one session, or many."""

    session: list[ItemId] | None = None
    sessions: list[list[ItemId]] | None = None


class SessionAnswer(msgspec.Struct):
    """One session's best items."""

    items: list[Any]
    scores: list[float]
    answer: Answered
    skipped: int


class OneAnswer(msgspec.Struct):
    """To a request with one session."""

    model: str
    version: str
    items: list[Any]
    scores: list[float]
    answer: Answered
    skipped: int


class ManyAnswers(msgspec.Struct):
    """To a request with many."""

    model: str
    version: str
    results: list[SessionAnswer]


class ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /v1/explain``."""

    session: list[ItemId]
    items: list[ItemId]
    model: str | None = None


class Explanation(msgspec.Struct):
    """A weight of each click, for each item."""

    model: str
    version: str
    clicks: list[ItemId]
    weights: list[list[float]]


class ClickRequest(Choices, forbid_unknown_fields=True, kw_only=True):
    """``POST /v1/sessions/{id}/clicks``."""

    item: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, msgspec.Meta(max_length=512)]
    consent: bool = True


class ClickAnswer(OneAnswer):
    """To a click, from all of its session that is kept."""

    clicks: list[ItemId]
    stored: bool
    reason: str | msgspec.UnsetType = msgspec.UNSET


class SessionClicks(msgspec.Struct):
    """``GET /v1/sessions/{id}``: what is kept of it, oldest first; nothing of one that is not."""

    clicks: list[ItemId]


class ModelDescription(msgspec.Struct):
    """One of ``GET /v1/models``."""

    name: str
    version: str
    architecture: str
    items: int
    k_max: int
    can_explain: bool
    item_ids: Literal["integers", "strings"]
    share: float | None


class ModelList(msgspec.Struct):
    """``GET /v1/models``."""

    models: list[ModelDescription]


class ItemDescription(msgspec.Struct):
    """An item of a model."""

    id: ItemId
    title: str | None
    clicks: int


class ItemList(msgspec.Struct):
    """``GET /v1/items``."""

    items: list[ItemDescription]


class Liveness(msgspec.Struct):
    """``GET /live``."""

    live: bool


class ReadyModel(msgspec.Struct):
    """A model that answers, and why a newer folder of its name does not, if there is one."""

    name: str
    version: str
    refused: str | None


class Readiness(msgspec.Struct):
    """``GET /ready``."""

    ready: bool
    draining: bool
    models: list[ReadyModel]


class ErrorDescription(msgspec.Struct):
    """What is wrong, with the field of the request."""

    field: str | None
    message: str


class ErrorAnswer(msgspec.Struct):
    """Every answer that is none."""

    error: ErrorDescription


_encode = msgspec.json.Encoder().encode
_PLACE = re.compile(r" - at `\$\.?(\w*)(.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*?)`(?: - at .*)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*?)`(?: - at .*)?$")


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """A request's body.

    Raises:
        RequestError: 400 where it is no JSON; 422 with the field that has another type, is unknown, missing or twice.
    """
    try:
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, None, f"body: expected JSON, got something else: {error}") from None
    json.loads(body, object_pairs_hook=_once)  # of fields with one name the decoder takes the last
    return decoded


def _once(fields: list[tuple[str, Any]]) -> None:
    names = set[str]()
    for name, _ in fields:
        if name in names:
            raise RequestError(422, name, f"{name}: expected once, got it twice")
        names.add(name)


def _wrong_field(text: str) -> RequestError:
    for pattern, expected in ((_UNKNOWN, "no such field"), (_MISSING, "this field, got none")):
        found = pattern.match(text)
        if found:
            name = reprlib.repr(found[1])[1:-1]  # of a client's, of any length and with any line breaks
            return RequestError(422, name, f"{name}: expected {expected}")
    place = _PLACE.search(text)
    field, rest = (place[1], place[2]) if place else ("", "")
    reason = _PLACE.sub("", text).replace("`", "")
    return RequestError(422, field or None, f"{field or 'body'}{rest}: {reason[0].lower()}{reason[1:]}")


def respond(answer: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as JSON."""
    return Response(_encode(answer), status, headers, "application/json")


def error_response(error: RequestError) -> Response:
    """What went wrong, as JSON."""
    return respond(ErrorAnswer(ErrorDescription(error.field, error.message)), error.status, error.headers)


async def read_body(request: Request, limit: int) -> bytes:
    """A request's body.

    Raises:
        RequestError: 413 where it has more bytes than `limit`.
    """
    too_large = RequestError(413, None, f"body: expected at most {limit} bytes, got more")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)
