"""Sessions in a real server that ends, hangs and comes back: no request waits long, fails, or sees another's clicks."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Iterator

import pytest

from tagnn_fast.serving.http import valkey_store
from tagnn_fast.serving.http.session_store import StoreGoneError
from tagnn_fast.serving.http.valkey_store import PREFIX, ValkeyStore
from tests.serving.http.valkey_server import Server, free_port, needs_server, running_server

pytestmark = needs_server
TIMEOUT, PAUSE = 1.0, 0.1
GONE = "the session store does not answer"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience for a busy machine, and little of a pause."""
    monkeypatch.setattr(valkey_store, "TIMEOUT", TIMEOUT)
    monkeypatch.setattr(valkey_store, "PAUSE", PAUSE)


async def refusal(store: ValkeyStore) -> float:
    """Seconds until a click is refused."""
    start = time.perf_counter()
    with pytest.raises(StoreGoneError, match=GONE):
        await store.append("a", 1)
    return time.perf_counter() - start


def test_process_that_stood_still(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """As while it loads a model: the server is not to blame, and no click is lost."""
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        store = ValkeyStore(server.url, 5)
        await store.append("a", 1)
        asks = [asyncio.create_task(store.append("a", item)) for item in (2, 3)]
        await asyncio.sleep(0)
        time.sleep(2 * TIMEOUT)
        await asyncio.gather(*asks)
        assert await store.clicks("a") == [1, 2, 3]
        await store.close()

    asyncio.run(run())
    assert caplog.records == []


def test_killed_and_restarted(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        store = ValkeyStore(server.url, 5)
        await asyncio.gather(*(store.append("a", item) for item in range(20)))  # several connections
        server.kill()
        assert await refusal(store) < TIMEOUT
        assert await refusal(store) < PAUSE / 2  # without asking
        server.start()
        await asyncio.sleep(1.5 * PAUSE)
        assert await store.append("a", 7) == [7]  # the first that asks finds it back, then all do
        lists = await asyncio.gather(*(store.append(f"b{item}", item) for item in range(20)))
        assert lists == [[item] for item in range(20)]
        await store.close()

    asyncio.run(run())
    assert [message.split(":")[0] for message in caplog.messages] == [
        "the session store failed, clicks are not kept until it is back",
        "the session store is back",
    ]


def test_hanging(server: Server) -> None:

    async def run() -> None:
        store = ValkeyStore(server.url, 5)
        await store.append("a", 1)
        server.process.send_signal(signal.SIGSTOP)
        assert TIMEOUT * 0.9 < await refusal(store) < 2 * TIMEOUT
        server.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(1.5 * PAUSE)
        assert (await store.append("a", 2))[-1] == 2
        await store.close()

    asyncio.run(run())


def test_never_there() -> None:
    async def run() -> None:
        store = ValkeyStore(f"valkey://127.0.0.1:{free_port()}/0", 5)
        assert await refusal(store) < TIMEOUT
        await store.close()

    asyncio.run(run())


def test_cancelled_requests_leave_no_answers_behind(server: Server) -> None:
    """A connection with the answer to a cancelled request must not answer the next one, which is somebody else's."""

    async def run() -> None:
        store = ValkeyStore(server.url, 5)

        async def shopper(number: int) -> None:
            session = f"shopper-{number}"
            task = asyncio.create_task(store.append(session, number))
            for _ in range(number % 25):  # to be cancelled at each of its steps
                await asyncio.sleep(0)
            if number % 3:
                task.cancel()
            try:
                assert await task == [number]
            except asyncio.CancelledError:
                assert await store.clicks(session) in ([], [number])

        for start in range(0, 1500, 30):
            await asyncio.gather(*(shopper(number) for number in range(start, start + 30)))
        await store.close()

    asyncio.run(run())


def test_ends_on_the_server(server: Server) -> None:
    async def run() -> None:
        store = ValkeyStore(server.url, 5, lifetime=0.2)
        await store.append("a", 1)
        await asyncio.sleep(0.3)
        assert await store.clicks("a") == []
        await store.close()

    asyncio.run(run())


def test_something_else_under_its_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_store, "PAUSE", 0.0)

    async def run() -> None:
        store = ValkeyStore(server.url, 5)
        await store._client.set(PREFIX + "a", "text")
        await refusal(store)
        await store._client.rpush(PREFIX + "b", "no JSON")
        with pytest.raises(StoreGoneError, match=GONE):
            await store.clicks("b")
        assert await store.append("c", 1) == [1]
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    ["", "memory2", "http://a:1", "valkey://secret@a:1/first", "valkey://a:text/0", "valkey://a:1/0?color=red"],
)
def test_refused_urls(url: str) -> None:
    with pytest.raises(ValueError) as error:
        ValkeyStore(url, 5)
    assert str(error.value) == "sessions: expected memory or valkey://host:port/database, got another"
