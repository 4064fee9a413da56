"""What is no request, or asks for too much: a status below 500, the field, one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tagnn_fast.serving.http.service import Limits
from tests.serving.http.services import exported, refusal, serving

LIMITS = Limits(body=3000, sessions=4, clicks=10, k=50, queue=60)
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "session", "session: expected session or sessions, got neither"),
    ({"session": [13], "sessions": [[13]]}, "session", "session: expected session or sessions, got both"),
    ({"session": 13}, "session", "session: expected array | null, got int"),
    ({"session": "13"}, "session", "session: expected array | null, got str"),
    ({"session": {"a": 13}}, "session", "session: expected array | null, got object"),
    ({"session": [13, 1.5]}, "session", "session[1]: expected int | str, got float"),
    ({"session": [True]}, "session", "session[0]: expected int | str, got bool"),
    ({"session": [None]}, "session", "session[0]: expected int | str, got null"),
    ({"session": [[13]]}, "session", "session[0]: expected int | str, got array"),
    ({"session": list(range(11))}, "session", "session: expected at most 10 clicks a session, got 11"),
    ({"sessions": [13]}, "sessions", "sessions[0]: expected array, got int"),
    ({"sessions": [[13], [23, {}]]}, "sessions", "sessions[1][1]: expected int | str, got object"),
    ({"sessions": [[13]] * 5}, "sessions", "sessions: expected at most 4, got 5"),
    ({"sessions": [[13], [13] * 11]}, "sessions", "sessions: expected at most 10 clicks a session, got 11"),
    ({"session": [13], "k": 0}, "k", "k: expected 1 to 50, got 0"),
    ({"session": [13], "k": -1}, "k", "k: expected 1 to 50, got -1"),
    ({"session": [13], "k": 51}, "k", "k: expected 1 to 50, got 51"),
    ({"session": [13], "k": 10**40}, "k", "k: expected 1 to 50, got 100000000000000000...0000000000000000000"),
    ({"session": [13], "k": "20"}, "k", "k: expected int, got str"),
    ({"session": [13], "k": 20.0}, "k", "k: expected int, got float"),
    ({"session": [13], "k": True}, "k", "k: expected int, got bool"),
    ({"session": [13], "k": None}, "k", "k: expected int, got null"),
    ({"session": [13], "candidates": 13}, "candidates", "candidates: expected array | null, got int"),
    ({"session": [13], "candidates": [1.5]}, "candidates", "candidates[0]: expected int | str, got float"),
    ({"session": [13], "exclude": None}, "exclude", "exclude: expected array, got null"),
    ({"session": [13], "exclude": [False]}, "exclude", "exclude[0]: expected int | str, got bool"),
    ({"session": [13], "exclude_clicked": 1}, "exclude_clicked", "exclude_clicked: expected bool, got int"),
    ({"session": [13], "model": "nobody"}, "model", "model: expected one of tagnn_pp, got 'nobody'"),
    ({"session": [13], "model": 1}, "model", "model: expected str | null, got int"),
    ({"session": [13], "key": 1}, "key", "key: expected str | null, got int"),
    ({"session": [13], "k_max": 3}, "k_max", "k_max: expected no such field"),
]
WRONG_EXPLANATIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"items": [13]}, "session", "session: expected this field, got none"),
    ({"session": [13]}, "items", "items: expected this field, got none"),
    ({"session": [13], "items": None}, "items", "items: expected array, got null"),
    ({"session": [13], "items": [[]]}, "items", "items[0]: expected int | str, got array"),
    ({"session": [13] * 11, "items": [13]}, "session", "session: expected at most 10 clicks, got 11"),
    ({"session": [13], "items": list(range(51))}, "items", "items: expected at most 50, got 51"),
    ({"session": [13], "items": [13], "model": "x"}, "model", "model: expected one of tagnn_pp, got 'x'"),
    ({"session": [13], "items": [13], "k": 3}, "k", "k: expected no such field"),
]


def test_wrong_fields() -> None:
    with serving(exported(), limits=LIMITS) as client:
        for route, cases in (("/v1/recommend", WRONG), ("/v1/explain", WRONG_EXPLANATIONS)):
            for body, field, message in cases:
                assert refusal(client.post(route, json=body), 422) == (field, message)
        for header in ("0", "-1", "1.5", "soon", "", "²"):
            answer = client.post("/v1/recommend", json={"session": [13]}, headers={"X-Timeout-Ms": header.encode()})
            assert refusal(answer, 422)[0] == "X-Timeout-Ms"
        assert client.post("/v1/recommend", json={"session": [13], "k": 50}).status_code == 200
        late = {"X-Timeout-Ms": "000000000000" + "10000"}
        assert client.post("/v1/recommend", json={"session": [13]}, headers=late).status_code == 200
        field, message = refusal(client.post("/v1/recommend", json={"session": [13], "a\nb" + "c" * 999: 1}), 422)
        assert message.startswith("a\\nbccc")
        assert message.endswith(": expected no such field")
        assert len(message) < 100
        for method, path, status in (("GET", "/v2/nothing", 404), ("GET", "/v2/models/tagnn_pp/infer", 405)):
            answer = client.request(method, path)
            assert (answer.status_code, list(answer.json())) == (status, ["error"])
            assert isinstance(answer.json()["error"], str)


def test_ids_of_another_type() -> None:
    """Integers are refused where ids are strings; strings of digits are integers where ids are."""
    with serving(exported(strings=True)) as client:
        for body, field in (
            ({"session": ["item-13", 13]}, "session"),
            ({"sessions": [["item-13"], [13]]}, "sessions"),
            ({"session": [], "candidates": [13]}, "candidates"),
            ({"session": [], "exclude": [13]}, "exclude"),
        ):
            refused = refusal(client.post("/v1/recommend", json=body), 422)
            assert refused == (field, f"{field}: expected strings, as the item ids of 'tagnn_pp', got 13")
        answer = client.post("/v1/explain", json={"session": ["item-13"], "items": [13]})
        assert refusal(answer, 422) == ("items", "items: expected strings, as the item ids of 'tagnn_pp', got 13")
    with serving(exported()) as client:
        numbers = client.post("/v1/recommend", json={"session": [13, 23]}).json()
        assert client.post("/v1/recommend", json={"session": ["13", "23"]}).json() == numbers


def test_no_json() -> None:
    route = "/v1/recommend"
    bodies = [
        b"",
        b"{",
        b"{'session': [13]}",
        b'{"session": [13]} {}',
        b'{"session": [13,]}',
        b'{"session": [NaN]}',
        b'{"session": ["\xff"]}',
        b'{"session": ["\\ud800"]}',
        b'\xef\xbb\xbf{"session": [13]}',
        '{"session": [13]}'.encode("utf-16"),
    ]
    with serving(exported()) as client:
        for body in bodies:
            field, message = refusal(client.post(route, content=body), 400)
            assert field is None
            assert message.startswith("body: expected JSON, got something else: ")
        for body in (b"[]", b"null", b"13", b'"session"'):
            assert refusal(client.post(route, content=body), 422)[1].startswith("body: expected object, got ")
        for body in (b'{"session": ' + b"[" * 100_000, b'{"session": [13], "k": ' + b"9" * 5000 + b"}"):
            refusal(client.post(route, content=body), 422)


def test_too_large() -> None:
    """Whether it says so before or not."""
    large = json.dumps({"session": [13], "key": "x" * 3000}).encode()
    with serving(exported(), limits=LIMITS) as client:
        for content in (large, iter([large[:2000], large[2000:]])):
            refused = refusal(client.post("/v1/recommend", content=content), 413)
            assert refused == (None, "body: expected at most 3000 bytes, got more")


def test_too_many_clicks_in_all() -> None:
    with serving(exported()) as client:
        sessions = [[13] * 1000] * 66
        refused = refusal(client.post("/v1/recommend", json={"sessions": sessions}), 422)
        assert refused == ("sessions", "sessions: expected at most 65536 clicks in all, got 66000")
        refused = refusal(client.post("/v1/explain", json={"session": [13] * 1000, "items": [13] * 66}), 422)
        assert refused == ("items", "items: expected at most 65 for 1000 clicks, got 66")


def test_too_many_excluded_in_all() -> None:
    with serving(exported()) as client:
        body = {"sessions": [[13]] * 256, "exclude": list(range(4097))}
        refused = refusal(client.post("/v1/recommend", json=body), 422)
        assert refused == ("exclude", "exclude: expected at most 4096 for 256 sessions, got 4097")
        assert client.post("/v1/recommend", json=body | {"sessions": [[13]] * 255}).status_code == 200


def test_a_field_twice() -> None:
    """Whatever it has: of the two, the last would be taken without a word."""
    with serving(exported(), sessions="memory") as client:
        for route, body in (
            ("/v1/recommend", '{"session": [13], "k": 2, "session": [23]}'),
            ("/v1/recommend", '{"session": [13], "s\\u0065ssion": [13]}'),
            ("/v1/explain", '{"session": [13], "session": [13], "items": [13]}'),
            ("/v1/sessions/twice/clicks", '{"item": 13, "item": 23}'),
        ):
            field, message = refusal(client.post(route, content=body), 422)
            assert message == f"{field}: expected once, got it twice"
        inputs = '[{"name": "items", "datatype": "INT64", "shape": [1], "data": [13], "data": [23]}]'
        answer = client.post("/v2/models/tagnn_pp/infer", content=f'{{"inputs": {inputs}}}')
        assert (answer.status_code, answer.json()) == (400, {"error": "data: expected once, got it twice"})


def test_no_such_path_or_method() -> None:
    with serving(exported()) as client:
        assert refusal(client.get("/v1/nothing"), 404) == (None, "/v1/nothing: no such path")
        answer = client.get("/v1/recommend")
        assert refusal(answer, 405) == (None, "/v1/recommend: expected POST, got GET")
        assert answer.headers["allow"] == "POST"


def test_limits() -> None:
    for name in ("body", "sessions", "clicks", "k", "queue"):
        with pytest.raises(ValueError, match=f"^{name}: expected 1 or more, got 0$"):
            Limits(**{name: 0})
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="^timeout: expected seconds above 0, got "):
            Limits(timeout=timeout)
    with pytest.raises(ValueError, match="^queue: expected room for the largest request, 256, got 255$"):
        Limits(queue=255)
