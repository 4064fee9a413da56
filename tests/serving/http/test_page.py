"""The page's files, and what a browser may do with them; tests/page visits it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serving.http.services import exported, refusal, serving
from tests.support import ROOT

FOLDER = ROOT / "tagnn_fast" / "serving" / "http" / "page"
FILES = sorted(FOLDER.iterdir())


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(exported(), token="secret") as client:
        yield client


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_files(client: TestClient, path: Path) -> None:
    """Each as it is, without a token: what they show has to ask with one."""
    answer = client.get(f"/page/{path.name}")
    assert (answer.status_code, answer.content) == (200, path.read_bytes())
    kind = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}[path.suffix]
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} < set(policy)
    assert "unsafe" not in "".join(policy)
    again = client.get(f"/page/{path.name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_it_is_made_of(client: TestClient) -> None:
    """It asks for its own files alone, which are all used, has no script or style in it, and sets no markup."""
    html = client.get("/").text
    assert html == (FOLDER / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=|//", html.removeprefix("<!doctype html>"))
    scripts = {path.name: path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".js"}
    used = set(re.findall(r'(?:href|src)="page/([^"]+)"', html))
    for text in scripts.values():
        used |= set(re.findall(r'from "\./([^"]+)"', text))
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
        assert set(re.findall(r"https?://[^\"]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert used | {"index.html"} == {path.name for path in FILES}


def test_no_such_file(client: TestClient) -> None:
    assert refusal(client.get("/page/other.js"), 404) == (None, "/page/other.js: no such path")
    assert client.get("/page/..%2Fapplication.py").status_code == 404
    assert client.get("/page/").status_code == 404


def test_files_are_short() -> None:
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= 400
