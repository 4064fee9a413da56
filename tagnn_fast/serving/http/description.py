"""What the service says of itself in OpenAPI 3.1: schemas of the messages, with the limits it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.serving.http import inference_protocol as protocol
from tagnn_fast.serving.http import messages
from tagnn_fast.serving.http.item_routes import LIMIT, LONGEST, MOST
from tagnn_fast.serving.http.routes import service_of
from tagnn_fast.serving.http.service import TIMEOUT_HEADER, Limits, Service
from tagnn_fast.serving.http.session_routes import SESSION_ID
from tagnn_fast.version import __version__

Schema = dict[str, Any]

_STATUSES = {
    400: "The body is no JSON.",
    401: "Without the token that the service asks for.",
    404: "No such thing here.",
    413: "The body is too large.",
    422: "A field is wrong.",
    500: "Scoring failed.",
    503: "Too many wait, or the service is about to end; try again after the seconds that Retry-After says.",
    504: f"No answer within {TIMEOUT_HEADER}.",
}
_SCORED = (400, 401, 413, 422, 500, 503, 504)


class Operation(NamedTuple):
    """One method of one path.

    Attributes:
        method: of HTTP, in small letters.
        path: with the names of what varies in it.
        summary: one sentence.
        answer: what is given with status 200: a structure, some of which it is one, or a type of text; None for status
            204 and nothing.
        body: what is asked, if there is one.
        errors: statuses of answers that are none.
        not_ready: whether status 503 comes with the same answer.
    """

    method: str
    path: str
    summary: str
    answer: Any
    body: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = (401,)
    not_ready: bool = False


_OPERATIONS = [
    Operation(
        "post",
        "/v1/recommend",
        "The best items for one session or many.",
        (messages.OneAnswer, messages.ManyAnswers),
        messages.RecommendRequest,
        _SCORED,
    ),
    Operation(
        "post",
        "/v1/explain",
        "What the model looked at: the weight of each click for each item.",
        messages.Explanation,
        messages.ExplainRequest,
        _SCORED,
    ),
    Operation(
        "get",
        "/v1/items",
        "Items that a text finds, or the most clicked; or those with each id that there is.",
        messages.ItemList,
        errors=(401, 422, 503),
    ),
    Operation("get", "/v1/models", "The models that answer.", messages.ModelList),
    Operation(
        "post",
        "/v1/sessions/{id}/clicks",
        "Adds a click to a session, and the best items for it.",
        messages.ClickAnswer,
        messages.ClickRequest,
        (*_SCORED, 404),
    ),
    Operation(
        "get", "/v1/sessions/{id}", "The clicks that are kept.", messages.SessionClicks, errors=(401, 404, 422, 503)
    ),
    Operation("delete", "/v1/sessions/{id}", "Forgets a session.", None, errors=(401, 404, 422, 503)),
    Operation("get", "/live", "Whether the process lives.", messages.Liveness, errors=()),
    Operation("get", "/ready", "Whether it takes requests.", messages.Readiness, errors=(), not_ready=True),
    Operation("get", "/metrics", "Metrics for Prometheus.", "text/plain"),
    Operation("get", "/openapi.json", "This description.", dict[str, Any]),
    Operation("get", "/v2", "The server (Open Inference Protocol).", protocol.ServerMetadata),
    Operation("get", "/v2/health/live", "Whether the process lives.", protocol.ServerLive, errors=()),
    Operation("get", "/v2/health/ready", "Whether it takes requests.", protocol.ServerReady, errors=(), not_ready=True),
    Operation("get", "/v2/models/{name}", "A model's tensors.", protocol.ModelMetadata, errors=(401, 404)),
    Operation(
        "get",
        "/v2/models/{name}/ready",
        "Whether a model takes requests.",
        protocol.ModelReady,
        errors=(401, 404),
        not_ready=True,
    ),
    Operation(
        "post",
        "/v2/models/{name}/infer",
        "The best items for sessions as tensors.",
        protocol.InferAnswer,
        protocol.InferRequest,
        (400, 401, 404, 413, 500, 503, 504),
    ),
]


def describe(service: Service, prefix: str) -> Schema:
    """The description, as an OpenAPI document.

    Args:
        service: to describe, with its models and limits.
        prefix: of all paths, where the application is mounted; empty where it is not.
    """
    names = [model.name for model in service.models]
    types = _types()
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(types, schemas, strict=True))
    _add_limits(components, service.limits, max(map(service.longest, service.models)), names)
    paths: dict[str, Schema] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation, by_type, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tagnn_fast",
            "version": __version__,
            "description": "Recommendations for click sessions.",
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],  # for a service that was started with one
    }


def _types() -> list[Any]:
    """Every structure that has to do with them, once."""
    found: list[Any] = [messages.ErrorAnswer, protocol.InferenceError]
    for operation in _OPERATIONS:
        found += operation.answer if isinstance(operation.answer, tuple) else [operation.answer]
        found.append(operation.body)
    return [kind for kind in dict.fromkeys(found) if not isinstance(kind, (str, type(None)))]


def _described(operation: Operation, schemas: Mapping[Any, Schema], names: list[str]) -> Schema:
    own = operation.path.startswith("/v2")
    answers = {str(status): _error(status, schemas, own) for status in sorted(operation.errors)}
    if operation.answer is None:
        answers["204"] = {"description": "Done."}
    elif isinstance(operation.answer, str):
        answers["200"] = {"description": "The answer.", "content": {operation.answer: {"schema": {"type": "string"}}}}
    elif isinstance(operation.answer, tuple):
        answers["200"] = _json("The answer.", {"anyOf": [schemas[kind] for kind in operation.answer]})
    else:
        answers["200"] = _json("The answer.", schemas[operation.answer])
    if operation.not_ready:
        answers["503"] = _json("Not, or not any longer.", schemas[operation.answer])
    found: Schema = {"summary": operation.summary, "responses": answers}
    parameters = _parameters(operation, names)
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        found["requestBody"] = {**_json("What is asked.", schemas[operation.body]), "required": True}
    return found


def _error(status: int, schemas: Mapping[Any, Schema], own: bool) -> Schema:
    answer = _json(
        _STATUSES[status], schemas[protocol.InferenceError if own and status != 401 else messages.ErrorAnswer]
    )
    if status == 503:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "required": True}}
    return answer


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _parameters(operation: Operation, names: list[str]) -> list[Schema]:
    found: list[Schema] = []
    if "{id}" in operation.path:
        schema: Schema = {"type": "string", "pattern": f"^{SESSION_ID}$"}
        found.append({"name": "id", "in": "path", "required": True, "schema": schema})
    if "{name}" in operation.path:
        found.append({"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": names}})
    if 504 in operation.errors:
        schema = {"type": "integer", "minimum": 1}
        found.append({"name": TIMEOUT_HEADER, "in": "header", "schema": schema, "description": "Milliseconds."})
    if operation.answer is messages.ItemList:
        query: dict[str, Schema] = {
            "q": {"type": "string", "maxLength": LONGEST},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
            "id": {"type": "array", "items": {"type": "string"}, "maxItems": MOST},
            "model": {"type": "string", "enum": names},
        }
        found += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    return found


def _add_limits(components: dict[str, Schema], limits: Limits, k: int, names: list[str]) -> None:
    """What types alone do not say."""
    for name in ("RecommendRequest", "ClickRequest", "ExplainRequest", "InferParameters"):
        fields = components[name]["properties"]
        if "k" in fields:
            fields["k"].update(minimum=1, maximum=k)
        if "model" in fields:
            fields["model"]["anyOf"][0]["enum"] = names
    recommend, explain = (components[name]["properties"] for name in ("RecommendRequest", "ExplainRequest"))
    sessions = recommend["sessions"]["anyOf"][0]
    sessions["maxItems"] = limits.sessions
    for session in (sessions["items"], recommend["session"]["anyOf"][0], explain["session"]):
        session["maxItems"] = limits.clicks
    explain["items"]["maxItems"] = limits.k
    one_of = [{"required": [name], "properties": {name: {"type": "array"}}} for name in ("session", "sessions")]
    components["RecommendRequest"]["oneOf"] = one_of


async def read_description(request: Request) -> Response:
    """``GET /openapi.json``."""
    return Response(
        msgspec.json.encode(describe(service_of(request), request.scope.get("root_path", ""))),
        media_type="application/json",
    )


ROUTES = [Route("/openapi.json", read_description)]
