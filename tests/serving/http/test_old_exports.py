"""Folders of earlier versions behind the service: what they cannot is refused, and kept nowhere."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.serving.http.services import refusal, serving
from tests.serving.test_written_by_earlier import VERSIONS, unpacked


@pytest.mark.parametrize("version", VERSIONS)
def test_earlier_versions(version: str, tmp_path: Path) -> None:
    folder = unpacked(version, tmp_path) / "exported"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another version wrote it
        with serving(folder, sessions="memory") as client:
            popular = client.post("/v1/recommend", json={"session": [], "k": 2}).json()["items"]
            for options in ({"candidates": popular}, {"exclude": popular[:1]}, {"exclude_clicked": True}):
                asked = {"item": popular[0], "k": 2, **options}
                if version == "version-2-strings" and "exclude_clicked" in options:
                    continue
                field, message = refusal(client.post("/v1/sessions/a/clicks", json=asked), 422)
                assert (field, message.split(":")[0]) == (next(iter(options)), next(iter(options)))
            assert client.get("/v1/sessions/a").json()["clicks"] == []
            answer = client.post("/v1/sessions/a/clicks", json={"item": popular[0], "k": 2})
            assert (answer.status_code, len(answer.json()["items"])) == (200, 2)
