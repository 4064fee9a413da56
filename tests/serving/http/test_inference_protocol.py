"""The Open Inference Protocol: what it describes is what it takes and gives, with the loaded model's answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

import pytest
from starlette.testclient import TestClient

import tagnn_fast
from tagnn_fast.version import __version__
from tests.serving.folders import sample_sessions
from tests.serving.http.services import exported, serving

Client = TestClient


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving(f"numbers={exported()}", f"texts={exported(strings=True)}") as client:
        yield client


def tensor(name: str, data: list[Any], datatype: str = "INT64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **more}


def infer(client: Client, inputs: list[Any], model: str = "numbers", **more: Any) -> Any:
    return client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **more})


def lists(answer: dict[str, Any]) -> tuple[list[Any], list[Any], list[int]]:
    """Items, scores and status of each session."""
    tensors = {output["name"]: output["data"] for output in answer["outputs"]}
    assert all(output["shape"] == [len(output["data"])] for output in answer["outputs"])
    offsets = tensors["offsets"]
    parts = [slice(begin, end) for begin, end in pairwise(offsets)]
    items, scores = ([tensors[name][part] for part in parts] for name in ("items", "scores"))
    return items, scores, tensors["status"]


@pytest.mark.parametrize("strings", [False, True])
def test_many_sessions(client: Client, strings: bool) -> None:
    model, datatype = ("texts", "BYTES") if strings else ("numbers", "INT64")
    sessions = sample_sessions(strings)
    flat = [item for session in sessions for item in session]
    offsets = list(accumulate(map(len, sessions), initial=0))
    answer = infer(
        client,
        [tensor("offsets", offsets), tensor("items", flat, datatype)],
        model,
        id="mine",
        parameters={"k": 7, "exclude_clicked": True},
    )
    assert answer.status_code == 200
    found = answer.json()
    assert (found["model_name"], found["id"]) == (model, "mine")
    described = client.get(f"/v2/models/{model}").json()
    assert described["versions"] == [found["model_version"]]
    assert [[output[name] for name in ("name", "datatype")] for output in found["outputs"]] == [
        [output[name] for name in ("name", "datatype")] for output in described["outputs"]
    ]
    expected = tagnn_fast.load(exported(strings=strings)).recommend(sessions, 7, exclude_clicked=True)
    assert lists(found) == (expected.items, expected.scores, expected.status)


def test_one_session(client: Client) -> None:
    found = infer(client, [tensor("items", [13, 23])]).json()
    expected = tagnn_fast.load(exported()).recommend([[13, 23]])
    assert lists(found) == (expected.items, expected.scores, expected.status)
    assert "id" not in found


def test_outputs_that_are_asked_for(client: Client) -> None:
    found = infer(client, [tensor("items", [13])], outputs=[{"name": "status"}, {"name": "items"}]).json()
    assert [output["name"] for output in found["outputs"]] == ["status", "items"]


def test_metadata(client: Client) -> None:
    assert client.get("/v2").json() == {"name": "tagnn_fast", "version": __version__, "extensions": []}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/texts/ready").json() == {"name": "texts", "ready": True}
    inputs = client.get("/v2/models/numbers").json()["inputs"]
    assert inputs == [
        {"name": "items", "datatype": "INT64", "shape": [-1]},
        {"name": "offsets", "datatype": "INT64", "shape": [-1]},
    ]


def test_not_ready(client: Client) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    service.draining = True
    try:
        for path in ("/v2/health/ready", "/v2/models/numbers/ready"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
    finally:
        service.draining = False


ITEMS = tensor("items", [13, 23])
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"inputs": []}, "inputs: expected items, and offsets if any, once each, got []"),
    ({"inputs": [ITEMS, ITEMS]}, "inputs: expected items, and offsets if any, once each, got ['items', 'items']"),
    ({"inputs": [{**ITEMS, "shape": [1, 2]}]}, "items: expected shape [2], as there is data, got [1, 2]"),
    ({"inputs": [tensor("items", ["13"])]}, "items: expected integers, as INT64 says, got '13'"),
    ({"inputs": [tensor("items", ["13"], "BYTES")]}, "items: expected datatype INT64, got BYTES"),
    ({"inputs": [ITEMS], "parameters": {"k": 0}}, "k: expected 1 to 100, got 0"),
    ({"inputs": [ITEMS], "parameters": {"colour": 1}}, "colour: expected no such field"),
    (
        {"inputs": [{**ITEMS, "parameters": {"binary_data_size": 16}}]},
        "binary_data_size: expected no such field",
    ),
    *(
        (
            {"inputs": [ITEMS, tensor("offsets", offsets)]},
            "offsets: expected to rise from 0 to the number of clicks 2, got others",
        )
        for offsets in ([], [0], [1, 2], [0, 1], [0, 2, 1, 2], [0, -1, 2], [0, 3])
    ),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_refused(client: Client, body: dict[str, Any], message: str) -> None:
    answer = client.post("/v2/models/numbers/infer", json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_other_refusals(client: Client) -> None:
    assert client.post("/v2/models/numbers/infer", content=b"\x00\x01").status_code == 400
    for answer in (infer(client, [ITEMS], "other"), client.get("/v2/models/other")):
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "name: expected one of numbers, texts, got 'other'"},
        )
    late = client.post("/v2/models/numbers/infer", json={"inputs": [ITEMS]}, headers={"X-Timeout-Ms": "soon"})
    assert (late.status_code, late.json().keys()) == (400, {"error"})
