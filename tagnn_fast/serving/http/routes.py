"""The routes of models: recommendations, explanations, what there is and whether it is ready."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.recommendations import POPULAR, Recommendations
from tagnn_fast.serving.http.messages import (
    Answered,
    ExplainRequest,
    Explanation,
    Liveness,
    ManyAnswers,
    ModelDescription,
    ModelList,
    OneAnswer,
    Readiness,
    ReadyModel,
    RecommendRequest,
    RequestError,
    SessionAnswer,
    decode,
    read_body,
    respond,
)
from tagnn_fast.serving.http.service import Service

_RECOMMEND = msgspec.json.Decoder(RecommendRequest)
_EXPLAIN = msgspec.json.Decoder(ExplainRequest)


def service_of(request: Request) -> Service:
    """What this request's application answers with."""
    service: Service = request.app.state.service
    return service


async def recommend(request: Request) -> Response:
    """``POST /v1/recommend``."""
    service = service_of(request)
    asked: RecommendRequest = decode(_RECOMMEND, await read_body(request, service.limits.body))
    if (asked.session is None) == (asked.sessions is None):
        found = "neither" if asked.session is None else "both"
        raise RequestError(422, "session", f"session: expected session or sessions, got {found}")
    if asked.session is not None:
        model, answer = await service.recommend(request, [asked.session], asked, "session")
        return respond(OneAnswer(model.name, model.version, *session_answer(answer, 0)))
    model, answer = await service.recommend(request, asked.sessions or [], asked)
    results = [SessionAnswer(*session_answer(answer, place)) for place in range(len(answer.items))]
    return respond(ManyAnswers(model.name, model.version, results))


def session_answer(answer: Recommendations, place: int) -> tuple[list[Any], list[float], Answered, int]:
    """Items, scores, what answered and the clicks skipped of one of the sessions."""
    by: Answered = "popularity" if answer.status[place] == POPULAR else "model"
    return answer.items[place], answer.scores[place], by, answer.skipped[place]


async def explain(request: Request) -> Response:
    """``POST /v1/explain``."""
    service = service_of(request)
    asked: ExplainRequest = decode(_EXPLAIN, await read_body(request, service.limits.body))
    model, weights = await service.explain(request, asked.session, asked.items, asked.model)
    return respond(Explanation(model.name, model.version, asked.session, weights))


async def list_models(request: Request) -> Response:
    """``GET /v1/models``."""
    service = service_of(request)
    split = service.models.split
    descriptions = [
        ModelDescription(
            model.name,
            model.version,
            model.served.manifest["architecture"],
            model.served.manifest["items"],
            min(model.k_max, service.limits.k),
            model.served.can_explain,
            model.served.manifest["item_ids"],
            None if split is None else split.get(model.name, 0.0),
        )
        for model in service.models
    ]
    return respond(ModelList(descriptions))


async def live(request: Request) -> Response:
    """``GET /live``: the event loop turns."""
    return respond(Liveness(True))


async def ready(request: Request) -> Response:
    """``GET /ready``: 503 before the end; what each model is, and why a new one of its name was refused."""
    service = service_of(request)
    models = [ReadyModel(model.name, model.version, service.models.refused(model.name)) for model in service.models]
    return respond(Readiness(not service.draining, service.draining, models), 503 if service.draining else 200)


ROUTES = [
    Route("/v1/recommend", recommend, methods=["POST"]),
    Route("/v1/explain", explain, methods=["POST"]),
    Route("/v1/models", list_models),
    Route("/live", live),
    Route("/ready", ready),
]
