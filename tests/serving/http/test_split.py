"""Which model a request gets: by name, by a share of keys, or the first."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tagnn_fast.serving import app
from tests.serving.http.services import exported, serving


def folders() -> list[str]:
    return [f"a={exported()}", f"b={exported('sr_gnn')}", f"c={exported()}"]


def test_shares() -> None:
    """Near what was asked for, the same for a key each time, and another share moves only those it must."""
    keys = [f"visitor {number}" for number in range(400)]

    def chosen(split: dict[str, float]) -> dict[str, str]:
        with serving(*folders(), split=split) as client:
            shares = {model["name"]: model["share"] for model in client.get("/v1/models").json()["models"]}
            assert shares == {name: split.get(name, 0.0) for name in "abc"}

            def model_of(key: str) -> str:
                answer = client.post("/v1/recommend", json={"session": [], "k": 1, "key": key}).json()
                return str(answer["model"])

            found = {key: model_of(key) for key in keys}
            assert all(model_of(key) == found[key] for key in keys[:20])
            return found

    first, then = chosen({"a": 90, "b": 10}), chosen({"a": 80, "b": 20})
    counts = Counter(first.values())
    assert counts["b"] == pytest.approx(40, abs=24)  # four standard deviations
    assert counts["a"] + counts["b"] == 400
    assert all(then[key] == "b" for key in keys if first[key] == "b")
    assert set(chosen({"b": 100, "a": 0}).values()) == {"b"}


def test_without_a_key_the_clicks_decide() -> None:
    with serving(*folders(), split={"a": 50, "b": 50}) as client:

        def model_of(**request: Any) -> str:
            return str(client.post("/v1/recommend", json={"k": 1, **request}).json()["model"])

        found = [model_of(session=[13, 10 * item]) for item in range(40)]
        assert found == [model_of(session=[13, 10 * item]) for item in range(40)]
        assert set(found) == {"a", "b"}
        assert model_of(session=[13], model="c") == "c"
        assert {model_of(session=[10 * item], key="one") for item in range(20)} == {model_of(session=[], key="one")}


def test_refused() -> None:
    for split, message in (
        ({"a": 50, "d": 50}, "split: expected names of models, a, b, c, got 'd'"),
        ({"a": 50, "b": 40}, "split: expected 100 percent together, got 90"),
        ({"a": 110, "b": -10}, "split: expected 0 to 100 percent for a, got 110"),
        ({}, "split: expected 100 percent together, got 0"),
    ):
        with pytest.raises(ValueError) as refused:
            app(folders(), split=split)
        assert str(refused.value) == message


def test_names() -> None:
    folder = exported()
    with serving(folder) as client:
        assert client.get("/v1/models").json()["models"][0]["name"] == folder.name
    for given, message in (
        ([folder, folder], f"{folder}: expected a name that no other has, as in NAME=FOLDER, got 'tagnn_pp'"),
        ([f"a={folder}", f"a={folder}"], f"a={folder}: expected a name that no other has, as in NAME=FOLDER, got 'a'"),
        ([f"={folder}"], f"={folder}: expected a name that no other has, as in NAME=FOLDER, got ''"),
        ([], "folders: expected at least one exported folder, got none"),
    ):
        with pytest.raises(ValueError) as refused:
            app(given)
        assert str(refused.value) == message
    with pytest.raises(FileNotFoundError, match="nowhere: expected an exported folder with a manifest.json in it"):
        app("nowhere")
