"""The Open Inference Protocol, version 2 (KServe's), in JSON: sessions as tensors, jagged in and out.

A request's ``items`` are the clicks of all sessions, one after the other, and ``offsets`` says where each begins, from
0 to the number of clicks; without it they are one session. In the answer, ``items`` and ``scores`` are the lists of all
sessions and ``offsets`` says where each begins: k apart, unless fewer than k items were left. ``status`` of a session
is 0 where it was answered in full, 1 where unknown clicks were skipped, 2 where popularity answered.
"""

from __future__ import annotations

import reprlib
from collections.abc import Awaitable, Callable
from functools import wraps
from itertools import accumulate, pairwise
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.http.messages import Choices, ItemId, RequestError, decode, read_body, respond
from tagnn_fast.serving.http.models import LoadedModel
from tagnn_fast.serving.http.routes import service_of
from tagnn_fast.version import __version__

Datatype = Literal["INT64", "BYTES", "FP64"]
OutputName = Literal["items", "scores", "offsets", "status"]


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """There are none, such as those of binary tensors."""


class InputTensor(msgspec.Struct, forbid_unknown_fields=True):
    """Items or offsets: one dimension."""

    name: Literal["items", "offsets"]
    shape: list[int]
    datatype: Literal["INT64", "BYTES"]
    data: list[ItemId]
    parameters: NoParameters | None = None


class RequestedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """One of the answer's tensors that is asked for."""

    name: OutputName
    parameters: NoParameters | None = None


class InferParameters(msgspec.Struct, forbid_unknown_fields=True):
    """What else is asked for."""

    k: int = 20
    exclude_clicked: bool = False


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /v2/models/{name}/infer``."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: InferParameters | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct):
    """One dimension of the answer."""

    name: OutputName
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """To a request for inference."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class TensorDescription(msgspec.Struct):
    """One of a model's tensors; -1 stands for any length."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """``GET /v2/models/{name}``."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class ServerMetadata(msgspec.Struct):
    """``GET /v2``."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(msgspec.Struct):
    """``GET /v2/health/live``."""

    live: bool


class ServerReady(msgspec.Struct):
    """``GET /v2/health/ready``."""

    ready: bool


class ModelReady(msgspec.Struct):
    """``GET /v2/models/{name}/ready``."""

    name: str
    ready: bool


class InferenceError(msgspec.Struct):
    """Every answer of the protocol that is none."""

    error: str


_INFER = msgspec.json.Decoder(InferRequest)
Handler = Callable[[Request], Awaitable[Response]]


def _own_errors(handler: Handler) -> Handler:
    """The protocol's format of errors, with 400 for whatever is wrong in a request."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return own_error(error)

    return handle


def own_error(error: RequestError) -> Response:
    """What the protocol answers in its place."""
    return respond(InferenceError(error.message), 400 if error.status == 422 else error.status, error.headers)


async def server_metadata(request: Request) -> Response:
    """``GET /v2``."""
    return respond(ServerMetadata("tagnn_fast", __version__, []))


async def server_live(request: Request) -> Response:
    """``GET /v2/health/live``."""
    return respond(ServerLive(True))


async def server_ready(request: Request) -> Response:
    """``GET /v2/health/ready``."""
    ready = not service_of(request).draining
    return respond(ServerReady(ready), 200 if ready else 503)


@_own_errors
async def model_metadata(request: Request) -> Response:
    """``GET /v2/models/{name}``."""
    model = _model(request)
    items = _item_datatype(model)
    return respond(
        ModelMetadata(
            model.name,
            [model.version],
            "tagnn_fast",
            [TensorDescription("items", items, [-1]), TensorDescription("offsets", "INT64", [-1])],
            [
                TensorDescription("items", items, [-1]),
                TensorDescription("scores", "FP64", [-1]),
                TensorDescription("offsets", "INT64", [-1]),
                TensorDescription("status", "INT64", [-1]),
            ],
        )
    )


@_own_errors
async def model_ready(request: Request) -> Response:
    """``GET /v2/models/{name}/ready``."""
    ready = not service_of(request).draining
    return respond(ModelReady(_model(request).name, ready), 200 if ready else 503)


@_own_errors
async def infer(request: Request) -> Response:
    """``POST /v2/models/{name}/infer``."""
    service, named = service_of(request), _model(request)
    asked: InferRequest = decode(_INFER, await read_body(request, service.limits.body))
    sessions = _sessions(asked.inputs, _item_datatype(named))
    parameters = asked.parameters or InferParameters()
    choices = Choices(k=parameters.k, exclude_clicked=parameters.exclude_clicked, model=named.name)
    model, answer = await service.recommend(request, sessions, choices, "items")
    tensors = _tensors(answer, _item_datatype(model))
    names: list[OutputName] = list(tensors) if asked.outputs is None else [output.name for output in asked.outputs]
    return respond(InferAnswer(model.name, model.version, [tensors[name] for name in names], asked.id))


def _model(request: Request) -> LoadedModel:
    models, name = service_of(request).models, request.path_params["name"]
    model = models.named(name)
    if model is None:
        names = ", ".join(model.name for model in models)
        raise RequestError(404, "name", f"name: expected one of {names}, got {name!r}")
    return model


def _item_datatype(model: LoadedModel) -> Literal["INT64", "BYTES"]:
    return "BYTES" if model.has_strings else "INT64"


def _sessions(inputs: list[InputTensor], items_are: str) -> list[list[ItemId]]:
    tensors = {tensor.name: tensor for tensor in inputs}
    if len(tensors) != len(inputs) or "items" not in tensors:
        names = reprlib.repr([tensor.name for tensor in inputs])
        raise RequestError(422, "inputs", f"inputs: expected items, and offsets if any, once each, got {names}")
    items = _checked(tensors["items"], items_are)
    if "offsets" not in tensors:
        return [items]
    offsets = _checked(tensors["offsets"], "INT64")
    if not offsets or offsets[0] != 0 or offsets[-1] != len(items) or any(a > b for a, b in pairwise(offsets)):
        message = f"offsets: expected to rise from 0 to the number of clicks {len(items)}, got others"
        raise RequestError(422, "offsets", message)
    return [items[begin:end] for begin, end in pairwise(offsets)]


def _checked(tensor: InputTensor, datatype: str) -> list[Any]:
    if tensor.datatype != datatype:
        raise RequestError(422, tensor.name, f"{tensor.name}: expected datatype {datatype}, got {tensor.datatype}")
    if tensor.shape != [len(tensor.data)]:
        expected = f"expected shape [{len(tensor.data)}], as there is data"
        raise RequestError(422, tensor.name, f"{tensor.name}: {expected}, got {reprlib.repr(tensor.shape)}")
    for value in tensor.data:
        if isinstance(value, str) != (datatype == "BYTES"):
            kind = "strings" if datatype == "BYTES" else "integers"
            raise RequestError(
                422, tensor.name, f"{tensor.name}: expected {kind}, as {datatype} says, got {reprlib.repr(value)}"
            )
    return tensor.data


def _tensors(answer: Recommendations, items_are: Datatype) -> dict[OutputName, OutputTensor]:
    data: dict[OutputName, tuple[Datatype, list[Any]]] = {
        "items": (items_are, [item for line in answer.items for item in line]),
        "scores": ("FP64", [score for line in answer.scores for score in line]),
        "offsets": ("INT64", list(accumulate(map(len, answer.items), initial=0))),
        "status": ("INT64", answer.status),
    }
    return {name: OutputTensor(name, [len(values)], kind, values) for name, (kind, values) in data.items()}


ROUTES = [
    Route("/v2", server_metadata),
    Route("/v2/health/live", server_live),
    Route("/v2/health/ready", server_ready),
    Route("/v2/models/{name}", model_metadata),
    Route("/v2/models/{name}/ready", model_ready),
    Route("/v2/models/{name}/infer", infer, methods=["POST"]),
]
