"""Recommendations and explanations over HTTP are those of the loaded model, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tagnn_fast
from tagnn_fast.serving.export import export
from tests.serving.folders import make_run, sample_sessions, small_run
from tests.serving.http.services import exported, refusal, serving

STRINGS = pytest.mark.parametrize("strings", [False, True])


def as_answers(recommendations: tagnn_fast.Recommendations) -> list[dict[str, Any]]:
    """What the service says of each session."""
    return [
        {"items": items, "scores": scores, "answer": "popularity" if status == 2 else "model", "skipped": skipped}
        for items, scores, status, skipped in zip(*recommendations, recommendations.skipped, strict=True)
    ]


@STRINGS
def test_one_session(strings: bool) -> None:
    """Each alone, unknown items, repeats and nothing among them, with all that a request may ask for."""
    folder = exported(strings=strings)
    model = tagnn_fast.load(folder)
    chosen, excluded = ([f"item-{item}" if strings else item for item in ids] for ids in ([13, 23, 33, 503], [23]))
    choices: list[dict[str, Any]] = [
        {},
        {"k": 3, "exclude_clicked": True},
        {"candidates": chosen, "exclude": excluded},
        {"candidates": [], "exclude": []},
    ]
    with serving(folder) as client:
        version = client.get("/v1/models").json()["models"][0]["version"]
        for session in sample_sessions(strings):
            for choice in choices:
                answer = client.post("/v1/recommend", json={"session": session, **choice})
                (expected,) = as_answers(model.recommend([session], **choice))
                assert answer.status_code == 200
                assert answer.json() == {"model": "tagnn_pp", "version": version, **expected}


@STRINGS
def test_many_sessions(strings: bool) -> None:
    folder = exported(strings=strings)
    sessions = sample_sessions(strings)
    expected = tagnn_fast.load(folder).recommend(sessions, 7, exclude_clicked=True)
    with serving(folder) as client:
        answer = client.post("/v1/recommend", json={"sessions": sessions, "k": 7, "exclude_clicked": True}).json()
        assert answer["results"] == as_answers(expected)
        assert client.post("/v1/recommend", json={"sessions": []}).json()["results"] == []


@pytest.mark.parametrize("format", ["torchscript", "program"])
def test_fewer_items_than_asked_for(format: str, tmp_path: Path) -> None:
    """All of them: a shop of nine items is asked for 20 by default."""
    export(small_run(), tmp_path / "small", formats=["torchscript", "program"])
    with serving(tmp_path / "small", format=format) as client:
        for choice in ({}, {"k": 9}, {"k": 100}):
            assert len(client.post("/v1/recommend", json={"session": [11], **choice}).json()["items"]) == 9
        assert refusal(client.post("/v1/recommend", json={"session": [11], "k": 101}), 422)[0] == "k"


def test_integers_beyond_64_bits_are_unknown() -> None:
    with serving(exported()) as client:
        for unknown in (2**63, -(2**70), 10**1000):
            answer = client.post("/v1/recommend", content=f'{{"session": [13, {unknown}]}}').json()
            assert (answer["answer"], answer["skipped"]) == ("model", 1)


@STRINGS
def test_explain(strings: bool) -> None:
    """One row of weights an item, one weight a click; what is unknown weighs nothing."""
    folder = exported(strings=strings)
    session: list[Any] = [13, 23, 13, 999_999]
    items: list[Any] = [503, 13, 888_888]
    if strings:
        session, items = ([f"item-{item}" for item in ids] for ids in (session, items))
    flat, targets = (ids if strings else torch.tensor(ids) for ids in (session * 3, items))
    expected = tagnn_fast.load(folder).explain(flat, torch.tensor([0, 4, 8, 12]), targets).double().view(3, 4).tolist()
    with serving(folder) as client:
        answer = client.post("/v1/explain", json={"session": session, "items": items}).json()
        assert (answer["clicks"], answer["weights"]) == (session, expected)
        assert expected[0][3] == 0.0
        assert sum(expected[2]) == 0.0
        empty = client.post("/v1/explain", json={"session": [], "items": items}).json()
        assert empty["weights"] == [[], [], []]
        assert client.post("/v1/explain", json={"session": session, "items": []}).json()["weights"] == []


def test_a_model_that_cannot_explain() -> None:
    with serving(exported("sr_gnn")) as client:
        answer = client.post("/v1/explain", json={"session": [13], "items": [23]})
        assert refusal(answer, 422) == (
            "model",
            "model: expected one that can explain, got 'sr_gnn', which cannot",
        )


def test_models_by_name() -> None:
    """Each request gets the one it names, the first where it names none."""
    folders = f"first={exported()}", f"other={exported('sr_gnn')}"
    sessions = [[13, 23], [33]]
    with serving(*folders) as client:
        models = client.get("/v1/models").json()["models"]
        for name, folder in (("first", exported()), ("other", exported("sr_gnn")), (None, exported())):
            answer = client.post("/v1/recommend", json={"sessions": sessions, "model": name}).json()
            assert answer["results"] == as_answers(tagnn_fast.load(folder).recommend(sessions))
            assert answer["model"] == (name or "first")
    assert [(model["name"], model["architecture"], model["can_explain"]) for model in models] == [
        ("first", "tagnn_pp", True),
        ("other", "sr_gnn", False),
    ]
    items = len(make_run().vocabulary)
    for model in models:
        assert (model["items"], model["k_max"], model["item_ids"], model["share"]) == (items, 100, "integers", None)


def test_live_and_ready() -> None:
    with serving(exported()) as client:
        assert client.get("/live").json() == {"live": True}
        ready = client.get("/ready")
        version = client.get("/v1/models").json()["models"][0]["version"]
    assert ready.status_code == 200
    models = [{"name": "tagnn_pp", "version": version, "refused": None}]
    assert ready.json() == {"ready": True, "draining": False, "models": models}
