"""Services of small exported models, in this process, and what they are asked."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from starlette.testclient import TestClient

from tagnn_fast.serving import app
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import ServedModel
from tests.serving.folders import make_run


def exported(architecture: str = "tagnn_pp", strings: bool = False) -> Path:
    """An exported folder, named after the architecture, without what takes a compiler a minute. To be left as it is."""
    return _exported(architecture, strings)


@cache
def _exported(architecture: str, strings: bool) -> Path:
    folder = Path(mkdtemp(prefix="tagnn_fast_service_")) / architecture
    export(make_run(architecture, strings=strings), folder, formats=["torchscript", "program"])
    return folder


@contextmanager
def serving(*folders: str | Path, **options: Any) -> Iterator[TestClient]:
    """A client of a service; an error of the server's is an answer, as it is to a client."""
    with TestClient(app(folders, **options), raise_server_exceptions=False) as client:
        yield client


class HeldModel:
    """A model that answers when it is let to, and knows what it was asked."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), list[Any]()

    @contextmanager
    def in_place(self) -> Iterator[HeldModel]:
        recommend = ServedModel.recommend

        def held(served: ServedModel, sessions: Any, k: int = 20, **choice: Any) -> Any:
            self.asked.append([*sessions])
            assert self.let.wait(30)
            return recommend(served, sessions, k, **choice)

        with mock.patch.object(ServedModel, "recommend", held):
            try:
                yield self
            finally:
                self.let.set()


def ask(port: int, path: str = "/v1/recommend", body: Any = None, headers: Any = None) -> tuple[int, Any]:
    """Status and answer of a server on this machine."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def until(happened: Callable[[], bool]) -> None:
    """Wait for what is to happen."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def happens(what: Callable[[], bool]) -> None:
    """As :func:`until`, while the loop goes on."""
    for _ in range(3000):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def refusal(answer: Any, status: int) -> tuple[str | None, str]:
    """Field and message of an answer that is none."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error.keys() == {"error"}
    assert error["error"].keys() == {"field", "message"}
    message = error["error"]["message"]
    assert "\n" not in message
    assert "Traceback" not in message
    return error["error"]["field"], message
