"""Another folder takes a model's place while requests go on: each is answered, by the model that it says."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

import tagnn_fast
from tagnn_fast.serving import app
from tagnn_fast.serving.http import models
from tests.serving.folders import sample_sessions
from tests.serving.http.services import exported, until
from tests.support import assert_near


def offer(folder: Path, place: Path) -> None:
    """Put a folder where a model is served from, at once."""
    link = place.with_name("next")
    link.symlink_to(folder)
    os.replace(link, place)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a model is served from, which is looked at often."""
    monkeypatch.setattr(models, "_POLL_SECONDS", 0.01)
    offer(exported(), tmp_path / "shop")
    return tmp_path / "shop"


def version_of(folder: Path) -> str:
    return models._version(folder)


def answering(application: Starlette) -> str:
    model = application.state.service.models.named("shop")
    assert model is not None
    return str(model.version)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


# What is done to a whole folder, and the exception that its loading ends with.
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (shutil.rmtree, "FileNotFoundError: "),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "FileNotFoundError: "),
    "no model": (lambda folder: (folder / "model.ts").unlink(), "FileNotFoundError: "),
    "cut manifest": (lambda folder: rewrite(folder / "manifest.json", lambda content: content[:100]), "ValueError: "),
    "cut model": (lambda folder: rewrite(folder / "model.ts", lambda content: content[:-100]), "ValueError: "),
    "another model": (lambda folder: shutil.copy(exported() / "model.ts", folder / "model.ts"), "ValueError: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str, place: Path, tmp_path: Path) -> None:
    """The old one answers, /ready and the metrics say why; what is whole again takes over."""
    breaks, reason = BROKEN[name]
    broken = Path(shutil.copytree(exported("sr_gnn"), tmp_path / "broken"))
    breaks(broken)
    expected = tagnn_fast.load(exported()).recommend([[13]]).items[0]
    with TestClient(app(place)) as client:
        offer(broken, place)
        refused: list[Any] = []

        def is_refused() -> bool:
            refused[:] = [client.get("/ready").json()["models"][0]["refused"]]
            return refused != [None]

        until(is_refused)
        assert refused[0].startswith(reason)
        assert client.get("/ready").status_code == 200
        assert 'tagnn_fast_model_loads_total{model="shop",outcome="refused"} 1.0' in client.get("/metrics").text
        answer = client.post("/v1/recommend", json={"session": [13]}).json()
        assert (answer["items"], answer["version"]) == (expected, version_of(exported()))
        offer(exported("sr_gnn"), place)
        until(lambda: client.get("/ready").json()["models"][0]["version"] == version_of(exported("sr_gnn")))
        assert client.get("/ready").json()["models"][0]["refused"] is None


def test_a_file_that_changes_while_it_is_read(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it answers; the next look finds it whole."""
    copy, load, times = Path(shutil.copytree(exported("sr_gnn"), tmp_path / "copy")), models.load, list[int]()

    def load_while_written(folder: Path, format: Any) -> Any:
        loaded = load(folder, format)
        if not times:
            os.utime(copy / "model.ts", ns=(1, 1))
        times.append(1)
        return loaded

    application = app(place)
    monkeypatch.setattr(models, "load", load_while_written)
    with TestClient(application) as client:
        offer(copy, place)
        until(lambda: answering(application) == version_of(copy))
        loads = client.get("/metrics").text
    assert 'tagnn_fast_model_loads_total{model="shop",outcome="refused"} 1.0' in loads
    assert len(times) == 2


def test_reload(place: Path) -> None:
    """What SIGHUP asks for: loaded again, though nothing is new."""
    application = app(place)
    with TestClient(application):
        held = application.state.service.models
        before = held.named("shop")
        held.reload()
        until(lambda: held.named("shop") is not before)
        assert held.named("shop").version == before.version


def test_ten_swaps_under_load(place: Path, tmp_path: Path) -> None:
    """No request fails, none is answered by another model than it says, and those before are freed."""
    folders = [exported(), exported("sr_gnn")]
    broken = Path(shutil.copytree(folders[1], tmp_path / "broken"))
    (broken / "model.ts").write_bytes(b"")
    sessions = [session for session in sample_sessions() if session]
    expected = {version_of(folder): tagnn_fast.load(folder).recommend(sessions, 10) for folder in folders}
    application = app(place)
    held = application.state.service.models
    before: list[Any] = []
    answered: dict[str, int] = {}

    async def ask(client: httpx.AsyncClient, ended: asyncio.Event) -> None:
        while not ended.is_set():
            for place, session in enumerate(sessions):
                response = await client.post("/v1/recommend", json={"session": session, "k": 10})
                assert response.status_code == 200, response.text
                answer = response.json()
                answers = expected[answer["version"]]
                assert_near(torch.tensor(answer["scores"]), torch.tensor(answers.scores[place]), 1e-5)
                assert set(answer["items"][:3]) <= set(answers.items[place])
                answered[answer["version"]] = answered.get(answer["version"], 0) + 1

    async def swap() -> None:
        for number in range(1, 11):
            model = held.named("shop")
            before.append(weakref.ref(model.served))
            del model
            if number % 3 == 0:
                offer(broken, place)
                await asyncio.to_thread(until, lambda: held.refused("shop") is not None)
            folder = folders[number % 2]
            offer(folder, place)
            await asyncio.to_thread(until, lambda folder=folder: answering(application) == version_of(folder))

    async def run() -> None:
        transport, ended = httpx.ASGITransport(application), asyncio.Event()
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            asking = [asyncio.create_task(ask(client, ended)) for _ in range(4)]
            try:
                await swap()
            finally:
                ended.set()
            await asyncio.gather(*asking)

    asyncio.run(run())
    assert set(answered) == set(expected)
    assert min(answered.values()) > len(sessions)
    until(lambda: [served() for served in before] == [None] * 10)


@pytest.fixture(autouse=True)
def nothing_watches_afterwards() -> Iterator[None]:
    """Applications whose lifespan nobody runs end with themselves."""
    yield
    gc.collect()
    until(lambda: not any(thread.name in ("models", "scoring") for thread in threading.enumerate()))
