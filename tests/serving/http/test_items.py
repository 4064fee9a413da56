"""`GET /v1/items`: what a model can recommend, by text or by id."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tagnn_fast.serving.http import item_routes
from tests.serving.http.services import exported, refusal, serving


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(f"numbers={exported()}", f"texts={exported(strings=True)}") as client:
        yield client


def items(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/items", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_most_clicked(client: TestClient) -> None:
    found = items(client)
    vocabulary = client.app.state.service.models.named("numbers").served.vocabulary
    best = vocabulary.by_popularity()[:20] - 1
    assert [item["id"] for item in found] == [vocabulary.raw_ids[int(row)].as_py() for row in best]
    assert [item["clicks"] for item in found] == vocabulary.counts[best].tolist()
    assert {item["title"] for item in found} == {None}
    assert items(client, limit=3) == items(client, q="", limit=3) == found[:3]


def test_by_text(client: TestClient) -> None:
    found = [item["id"] for item in items(client, q="103", limit=100)]
    assert found[0] == 103
    assert {str(item)[:3] for item in found[:11]} == {"103"}
    assert items(client, q="item-103", model="texts")[0]["id"] == "item-103"
    assert items(client, q="ITEM-103", model="texts")[0]["id"] == "item-103"
    assert items(client, q="no such thing") == []


def test_by_id(client: TestClient) -> None:
    """In the order asked for; unknown ones are left out, and so is what only looks like one."""
    assert [item["id"] for item in items(client, id=["33", "7", "13", "013", "x", "33"])] == [33, 13, 33]
    found = items(client, id=["item-33", "Item-13", "item-23"], model="texts")
    assert [item["id"] for item in found] == ["item-33", "item-23"]


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"limit": "0"}, "limit", "limit: expected 1 to 100, got '0'"),
        ({"limit": "101"}, "limit", "limit: expected 1 to 100, got '101'"),
        ({"limit": "²"}, "limit", "limit: expected 1 to 100, got '²'"),
        ({"q": "a" * 201}, "q", "q: expected at most 200 characters, got 201"),
        ({"id": ["1"] * 101}, "id", "id: expected at most 100, got 101"),
        ({"id": "1", "q": "a"}, "id", "id: expected neither q nor limit beside it, got one"),
        ({"model": "other"}, "model", "model: expected one of numbers, texts, got 'other'"),
        ({"query": "a"}, "query", "query: expected no such field"),
        ({"q": ["a", "b"]}, "q", "q: expected once, got it twice"),
    ],
)
def test_refused(client: TestClient, asked: dict[str, Any], field: str, message: str) -> None:
    assert refusal(client.get("/v1/items", params=asked), 422) == (field, message)


def test_no_more_wait_than_may(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_routes, "_WAITING", 0)
    answer = client.get("/v1/items")
    assert refusal(answer, 503) == (None, "as many searches wait as may: try again")
    assert answer.headers["retry-after"] == "1"


def test_no_longer_than_a_request_may_take(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_routes._SEARCHES, "_answer", lambda *_: time.sleep(0.3))
    answer = client.get("/v1/items", headers={"X-Timeout-Ms": "50"})
    assert refusal(answer, 504) == (None, "no answer within 50 ms")


def test_a_model_that_is_gone_leaves_nothing() -> None:
    with serving(exported()) as client:
        items(client, q="1")
        search = weakref.ref(item_routes._SEARCHES._made[next(iter(client.app.state.service.models))])
    del client
    gc.collect()
    assert search() is None
