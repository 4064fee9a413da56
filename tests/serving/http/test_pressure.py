"""More requests than can be answered: the rest is told so, at once, and what nobody waits for is not scored."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest import mock

import httpx
import pytest
from starlette.applications import Starlette

from tagnn_fast.serving import app
from tagnn_fast.serving.http.service import Limits
from tagnn_fast.serving.served_model import ServedModel
from tests.serving.http.services import HeldModel, exported, happens, refusal, serving

LIMITS = Limits(sessions=4, k=5, queue=5, timeout=30)


def client_of(application: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test", timeout=30)


def test_full() -> None:
    async def ask() -> None:
        application = app(exported(), limits=LIMITS)
        queue = application.state.service.queue
        with HeldModel().in_place() as model:
            async with client_of(application) as client:

                def post(*sessions: list[int], **headers: str) -> Any:
                    request = client.post("/v1/recommend", json={"sessions": sessions, "k": 5}, headers=headers)
                    return asyncio.create_task(request)

                first = post([13])
                await happens(lambda: model.asked == [[[13]]])
                waiting = [post([23], [33]), post([43], [53], [63])]
                await happens(lambda: queue.depth == 5)
                for sessions in ([[73]], [[73], [83]]):
                    refused = await post(*sessions)
                    assert refusal(refused, 503) == (None, "as many wait as may: try again")
                    assert refused.headers["retry-after"] == "1"
                model.let.set()
                assert [answer.status_code for answer in await asyncio.gather(first, *waiting)] == [200] * 3
                assert model.asked == [[[13]], [[23], [33], [43], [53], [63]]]
                assert (await post([73])).status_code == 200

    asyncio.run(ask())


def test_deadline() -> None:
    """By the header, which cannot ask for more than the service allows."""

    async def ask() -> None:
        application = app(exported(), limits=Limits(timeout=0.2))
        with HeldModel().in_place() as model:
            async with client_of(application) as client:
                slow = asyncio.create_task(client.post("/v1/recommend", json={"session": [13]}))
                await happens(lambda: model.asked == [[[13]]])
                for header, milliseconds in (("50", 50), ("90000", 200)):
                    request = client.post("/v1/recommend", json={"session": [23]}, headers={"X-Timeout-Ms": header})
                    assert refusal(await request, 504) == (None, f"no answer within {milliseconds} ms")
                assert refusal(await slow, 504) == (None, "no answer within 200 ms")
                assert application.state.service.queue.depth == 0
                model.let.set()
                explained = await client.post("/v1/explain", json={"session": [13], "items": [23]})
                assert explained.status_code == 200  # the thread has been at all that waited before
                assert model.asked == [[[13]]]

    asyncio.run(ask())


def test_client_gone() -> None:
    """Its request is not scored; status 499 is for the metrics."""

    async def ask() -> None:
        application = app(exported(), limits=LIMITS)
        service = application.state.service
        gone = asyncio.Event()

        async def leave(*sessions: list[int]) -> None:
            body = [{"type": "http.request", "body": f'{{"sessions": {[*sessions]}, "k": 5}}'.encode()}]

            async def receive() -> dict[str, Any]:
                if not body:
                    await gone.wait()
                return body.pop() if body else {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                pass

            scope = {"type": "http", "method": "POST", "path": "/v1/recommend", "headers": [], "query_string": b""}
            await application(scope, receive, send)

        with HeldModel().in_place() as model:
            async with client_of(application) as client:
                first = asyncio.create_task(client.post("/v1/recommend", json={"session": [13], "k": 5}))
                await happens(lambda: model.asked == [[[13]]])
                leaving = asyncio.create_task(leave([23], [33]))
                await happens(lambda: service.queue.depth == 2)
                gone.set()
                await asyncio.wait_for(leaving, 30)
                assert service.queue.depth == 0
                model.let.set()
                assert (await first).status_code == 200
                assert (await client.post("/v1/explain", json={"session": [13], "items": [23]})).status_code == 200
                assert model.asked == [[[13]]]
                counted = (await client.get("/metrics")).text
                assert 'tagnn_fast_requests_total{route="/v1/recommend",status="499"} 1.0' in counted

    asyncio.run(ask())


def test_failures(caplog: pytest.LogCaptureFixture) -> None:
    """One sentence; the log has the rest."""
    with serving(exported()) as client:
        with mock.patch.object(ServedModel, "recommend", side_effect=FloatingPointError("scores: not finite")):
            answer = client.post("/v1/recommend", json={"session": [13]})
        assert refusal(answer, 500) == (None, "scores: not finite")
        assert "scores: not finite" in caplog.text
        with mock.patch.object(ServedModel, "recommend", side_effect=RuntimeError("secret")):
            answer = client.post("/v1/recommend", json={"session": [13]})
        assert refusal(answer, 500) == (None, "scoring failed; the log says why")
        assert "RuntimeError: secret" in caplog.text
        old = NotImplementedError("candidates: expected an export that can, got an old one: export it again")
        with mock.patch.object(ServedModel, "recommend", side_effect=old):
            answer = client.post("/v1/recommend", json={"session": [13]})
        assert refusal(answer, 422) == ("candidates", str(old))
        with mock.patch("tagnn_fast.serving.http.routes.respond", side_effect=RuntimeError("secret")):
            answer = client.post("/v1/recommend", json={"session": [13]})
        assert refusal(answer, 500) == (None, "/v1/recommend: failed; the log says why")
        assert client.post("/v1/recommend", json={"session": [13]}).status_code == 200
    assert [record.levelno for record in caplog.records if record.name.startswith("tagnn_fast")] == [logging.ERROR] * 2
