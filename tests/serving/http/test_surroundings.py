"""What stands around the routes: another application, a token, browsers of other origins, logs, traces."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tagnn_fast.serving import app
from tagnn_fast.serving.http.json_logs import JsonFormatter
from tests.serving.http.services import exported, refusal, serving


@pytest.mark.parametrize("with_lifespan", [False, True])
def test_mounted(with_lifespan: bool) -> None:
    """Under any prefix of somebody's own application, whether that runs its lifespan or not."""
    service = app(exported(), token="secret")

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse("a shop")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.router.lifespan_context(service):
            yield

    shop = Starlette(
        routes=[Route("/", home), Mount("/shop/recommender", service)], lifespan=lifespan if with_lifespan else None
    )
    with TestClient(shop, headers={"Authorization": "Bearer secret"}) as client:
        assert client.get("/").text == "a shop"
        assert client.get("/shop/recommender/ready").json()["ready"] is True
        answer = client.post("/shop/recommender/v1/recommend", json={"session": [13]})
        assert len(answer.json()["items"]) == 20
        refused = refusal(client.post("/shop/recommender/v1/recommend", json={}), 422)
        assert refused == ("session", "session: expected session or sessions, got neither")
        assert refusal(client.get("/shop/recommender/no"), 404) == (None, "/shop/recommender/no: no such path")
        client.headers.pop("Authorization")
        refusal(client.post("/shop/recommender/v1/recommend", json={"session": [13]}), 401)
        assert client.get("/shop/recommender/live").json() == {"live": True}


def test_started_again() -> None:
    """Its lifespan may begin and end several times."""
    service = app(exported())
    for _ in range(2):
        with TestClient(service) as client:
            assert client.post("/v1/recommend", json={"session": [13]}).status_code == 200
        assert service.state.service.draining


def test_draining() -> None:
    """Not ready, but it answers, and closes the connection."""
    service = app(exported())
    with TestClient(service) as client:
        service.state.service.draining = True
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["ready"], ready.json()["draining"]) == (503, False, True)
        answer = client.post("/v1/recommend", json={"session": [13]})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_token() -> None:
    with serving(exported(), token="sécret\n") as client:
        for given in (None, "secret", "Bearer", "Bearer ", "Bearer secret", "Basic sécret", "Bearer sécrets", "sécret"):
            headers = {} if given is None else {"Authorization": given.encode()}
            for method, path in (("POST", "/v1/recommend"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/no")):
                answer = client.request(method, path, headers=headers)
                assert refusal(answer, 401) == (None, "Authorization: expected Bearer and the token")
                assert answer.headers["www-authenticate"] == "Bearer"
        for scheme in ("Bearer", "bearer"):
            answer = client.get("/v1/models", headers={"Authorization": f"{scheme} sécret".encode()})
            assert answer.status_code == 200
        for path in ("/live", "/ready"):
            assert client.get(path).status_code == 200
    with serving(exported(), token="voilà") as client:  # whose last byte is a space in another encoding
        answer = client.get("/v1/models", headers={"Authorization": "Bearer voilà ".encode()})
        assert answer.status_code == 200
    for empty in ("", " \n"):
        with pytest.raises(ValueError, match="^token: expected some characters, got none$"):
            app(exported(), token=empty)


def test_origins() -> None:
    """A browser may ask for whom it is allowed, without a token for the question whether it may."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with serving(exported(), token="secret", allow_origins=["https://shop.example"]) as client:
        for origin, allowed in (("https://shop.example", True), ("https://other.example", False)):
            preflight = client.options("/v1/recommend", headers={"Origin": origin, **asked})
            assert (preflight.status_code == 200) is allowed
            answer = client.post(
                "/v1/recommend",
                json={"session": [13]},
                headers={"Origin": origin, "Authorization": "Bearer secret"},
            )
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    with serving(exported()) as client:
        answer = client.get("/v1/models", headers={"Origin": "https://shop.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each request, where somebody listens; without its path, which may have a session's id."""
    caplog.set_level(logging.INFO, "tagnn_fast.serving.http.gate")
    with serving(exported(), sessions="memory") as client:
        client.post("/v1/recommend", json={"session": [13], "k": 0})
        client.get("/v1/sessions/visitor-7")
        client.get("/nothing")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name.endswith("gate")]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/recommend", 422),
        ("GET", "/v1/sessions/{id}", 200),
        ("GET", "other", 404),
    ]
    assert all(line.keys() >= {"time", "level", "logger", "message", "milliseconds"} for line in lines)
    assert "visitor-7" not in str(lines)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        record = logging.LogRecord("name", logging.ERROR, "", 1, "%s failed", ("it",), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["level"]) == ("it failed", "error")
    assert "RuntimeError: broken" in line["traceback"]


def test_traces() -> None:
    """One for each request but those of probes, where it is asked for."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for tracing in (False, True):
        with serving(exported(), tracing=tracing) as client:
            client.get("/live")
            client.post("/v1/recommend", json={"session": [13]})
    spans = [span for span in exporter.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
    found: list[Any] = [(span.attributes or {}).get("http.target") for span in spans]
    assert found == ["/v1/recommend"]


def test_without_the_extra() -> None:
    """One sentence says what to install; the rest of the package needs none of it."""
    code = """
import sys
sys.modules["starlette"] = None
import tagnn_fast.serving
try:
    tagnn_fast.serving.app
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    expected = "tagnn_fast.serving.app needs starlette: pip install 'tagnn_fast[serve]'\n"
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr
