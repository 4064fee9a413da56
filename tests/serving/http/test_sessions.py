"""Clicks that the service keeps: answered as the whole session, counted once, and never in the way of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import tagnn_fast
from tagnn_fast.serving import app
from tagnn_fast.serving.http import valkey_store
from tagnn_fast.serving.http.service import Limits
from tests.serving.http.services import exported, refusal, serving
from tests.serving.http.test_metrics import read
from tests.serving.http.valkey_server import Server, needs_server, running_server

GONE = "the session store does not answer"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(exported(), sessions="memory") as client:
        yield client


def click(client: TestClient, session: str, item: object, **choice: Any) -> Any:
    return client.post(f"/v1/sessions/{session}/clicks", json={"item": item, **choice})


def test_answers_from_the_whole_session(client: TestClient) -> None:
    model = tagnn_fast.load(exported())
    clicks: list[int] = []
    for item in (13, 23, 999_999, 13):
        clicks.append(item)
        answer = click(client, "whole", item, k=5, exclude_clicked=True, exclude=[33])
        assert answer.status_code == 200
        expected = model.recommend([clicks], 5, exclude_clicked=True, exclude=[33])
        version = client.get("/v1/models").json()["models"][0]["version"]
        assert answer.json() == {
            "model": "tagnn_pp",
            "version": version,
            "items": expected.items[0],
            "scores": expected.scores[0],
            "answer": "model",
            "skipped": expected.skipped[0],
            "clicks": clicks,
            "stored": True,
        }
    assert client.get("/v1/sessions/whole").json() == {"clicks": clicks}


def test_repeated_item_counts_once(client: TestClient) -> None:
    assert [click(client, "repeated", item).json()["clicks"] for item in (13, 13, 23)] == [[13], [13], [13, 23]]


def test_an_integer_as_text_is_the_same_item(client: TestClient) -> None:
    lists = [click(client, "texts", item).json()["clicks"] for item in (13, "13", "23", 23, "013", "x")]
    assert lists == [[13], [13], [13, 23], [13, 23], [13, 23, "013"], [13, 23, "013", "x"]]


def test_latest_are_kept() -> None:
    with serving(exported(), sessions="memory", limits=Limits(clicks=3)) as client:
        lists = [click(client, "a", item).json()["clicks"] for item in (13, 23, 33, 43)]
    assert lists[-1] == [23, 33, 43]


def test_without_consent_nothing_is_kept(client: TestClient) -> None:
    click(client, "consent", 13)
    answer = click(client, "consent", 23, consent=False).json()
    assert (answer["clicks"], answer["stored"], answer["reason"]) == ([23], False, "no consent")
    assert answer["items"] == tagnn_fast.load(exported()).recommend([[23]]).items[0]
    assert client.get("/v1/sessions/consent").json() == {"clicks": [13]}


def test_forgotten(client: TestClient) -> None:
    click(client, "forgotten", 13)
    for _ in range(2):
        answer = client.delete("/v1/sessions/forgotten")
        assert (answer.status_code, answer.content) == (204, b"")
    assert client.get("/v1/sessions/forgotten").json() == {"clicks": []}


def test_refused_clicks_are_not_kept(client: TestClient) -> None:
    items = True, "x" * 513, 2**63, -(2**63) - 1
    for wrong in ({"k": 0}, {"model": "another"}, {"colour": 1}, {"consent": 1}, *({"item": item} for item in items)):
        field, _ = refusal(client.post("/v1/sessions/refused/clicks", json={"item": 13, **wrong}), 422)
        assert field == next(iter(wrong))
    headers = {"X-Timeout-Ms": "2.5"}
    answer = client.post("/v1/sessions/refused/clicks", json={"item": 13}, headers=headers)
    assert refusal(answer, 422)[0] == "X-Timeout-Ms"
    assert client.get("/v1/sessions/refused").json() == {"clicks": []}


def test_odd_names(client: TestClient) -> None:
    for name in ("a" * 129, "a b", "a%00", "%E2%98%83"):
        assert refusal(client.get(f"/v1/sessions/{name}"), 422)[0] == "id"
    answer = client.put("/v1/sessions/a", json={})
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"DELETE", "GET", "HEAD"}


def test_service_without_sessions() -> None:
    message = "sessions: expected a service that keeps some, got one started without them"
    with serving(exported()) as client:
        assert refusal(click(client, "a", 13), 404) == (None, message)
        assert refusal(client.get("/v1/sessions/a"), 404) == (None, message)


def test_one_model_for_a_session() -> None:
    """However its clicks grow; a key that the request brings decides in its place."""
    folders = [f"{name}={exported()}" for name in ("a", "b")]
    with serving(*folders, sessions="memory", split={"a": 50, "b": 50}) as client:
        by_session = [{click(client, f"s{n}", item).json()["model"] for item in (13, 23, 33)} for n in range(20)]
        assert all(len(names) == 1 for names in by_session)
        assert set.union(*by_session) == {"a", "b"}
        assert len({click(client, f"s{n}", 43, key="same").json()["model"] for n in range(20)}) == 1


def test_clicks_of_another_models_type() -> None:
    """A session outlives a swap to a model whose ids are texts."""
    with serving(f"a={exported()}", f"b={exported(strings=True)}", sessions="memory") as client:
        click(client, "s", 13, model="a")
        answer = click(client, "s", "item-23", model="b").json()
        assert (answer["clicks"], answer["skipped"]) == ([13, "item-23"], 1)
        answer = click(client, "s", 13, model="a").json()
        assert (answer["clicks"], answer["skipped"]) == ([13, "item-23", 13], 1)
        assert refusal(click(client, "s", 13, model="b"), 422)[0] == "item"


@needs_server
def test_store_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_store, "PAUSE", 0.0)
    monkeypatch.setattr(valkey_store, "TIMEOUT", 5.0)
    own = tagnn_fast.load(exported()).recommend([[23]]).items[0]
    with running_server() as server, serving(exported(), sessions=server.url) as client:
        assert click(client, "s", 13).json()["stored"]
        server.kill()
        answer = click(client, "s", 23)
        assert answer.status_code == 200
        found = answer.json()
        assert (found["stored"], found["reason"], found["clicks"], found["items"]) == (False, GONE, [23], own)
        for refused in (client.get("/v1/sessions/s"), client.delete("/v1/sessions/s")):
            assert refusal(refused, 503) == (None, GONE)
            assert refused.headers["retry-after"] == "1"
        assert read(client.get("/metrics").text)["tagnn_fast_clicks_not_stored_total"] == 1
        server.start()
        found = click(client, "s", 33).json()
        assert (found["stored"], found["clicks"]) == (True, [33])
        server.kill()


@needs_server
def test_store_killed_and_restarted_under_load(monkeypatch: pytest.MonkeyPatch, shared_server: Server) -> None:
    """Every answer is that of the clicks which it says it is of, and they are the session's own."""
    monkeypatch.setattr(valkey_store, "PAUSE", 0.05)
    application = app(exported(), sessions=shared_server.url)
    answers: list[tuple[int, int, dict[str, Any]]] = []  # session, item, answer

    async def shopper(client: httpx.AsyncClient, number: int) -> None:
        for step in range(40):
            item = 13 + 10 * (100 * number + step)
            answer = await client.post(f"/v1/sessions/s{number}/clicks", json={"item": item})
            assert answer.status_code == 200
            answers.append((number, item, answer.json()))

    async def load() -> None:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            shoppers = [asyncio.create_task(shopper(client, number)) for number in range(8)]
            while len(answers) < 80:
                await asyncio.sleep(0.001)
            shared_server.kill()
            while not any(not answer["stored"] for _, _, answer in answers):
                await asyncio.sleep(0.001)
            await asyncio.to_thread(shared_server.start)
            await asyncio.wait_for(asyncio.gather(*shoppers), 120)
            await asyncio.sleep(0.1)
            final = await client.post("/v1/sessions/last/clicks", json={"item": 13})
            assert final.json()["stored"]
        await application.state.sessions.close()

    asyncio.run(load())
    assert len(answers) == 8 * 40
    expected = tagnn_fast.load(exported()).recommend([answer["clicks"] for _, _, answer in answers])
    before: dict[int, list[int]] = {}
    for (number, item, answer), items in zip(answers, expected.items, strict=True):
        clicked = before.setdefault(number, [])
        clicked.append(item)
        clicks = answer["clicks"]
        assert clicks[-1] == item
        assert clicks == [earlier for earlier in clicked if earlier in clicks]
        assert answer["stored"] or clicks == [item]
        assert answer["items"] == items


@needs_server
def test_replicas_share_sessions(shared_server: Server) -> None:
    with serving(exported(), sessions=shared_server.url) as one, serving(exported(), sessions=shared_server.url) as two:
        assert click(one, "shared", 13).json()["clicks"] == [13]
        assert click(two, "shared", 23).json()["clicks"] == [13, 23]


@pytest.fixture
def shared_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def test_refused_store() -> None:
    with pytest.raises(ValueError, match="sessions: expected memory or valkey://host:port/database, got another"):
        app(exported(), sessions="disk")
