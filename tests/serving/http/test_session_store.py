"""What shoppers clicked: the same of the store in this process and of a real server; each bound; what is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tagnn_fast.serving.http.session_store import MemoryStore, SessionStore
from tagnn_fast.serving.http.valkey_store import ValkeyStore
from tests.serving.http.valkey_server import Server, needs_server, running_server

MOST = 5  # clicks kept
Made = Callable[[], SessionStore]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("valkey", marks=needs_server)])
def make(request: pytest.FixtureRequest) -> Made:
    if request.param == "memory":
        return lambda: MemoryStore(MOST)
    server = request.getfixturevalue("server")
    return lambda: ValkeyStore(server.url, MOST)


def ask(make: Made, question: Callable[[SessionStore], Awaitable[object]]) -> object:
    async def run() -> object:
        store = make()
        try:
            return await question(store)
        finally:
            await store.close()

    return asyncio.run(run())


def appended(make: Made, session: str, items: list[int | str]) -> object:
    async def question(store: SessionStore) -> object:
        lists = [await store.append(session, item) for item in items]
        assert lists[-1] == await store.clicks(session)
        return lists[-1]

    return ask(make, question)


def test_clicks_in_their_order(make: Made) -> None:
    assert appended(make, "order", [3, 1, 3, 2]) == [3, 1, 3, 2]


def test_latest_are_kept(make: Made) -> None:
    assert appended(make, "many", list(range(20))) == [15, 16, 17, 18, 19]


def test_repeated_item_counts_once(make: Made) -> None:
    assert appended(make, "repeated", [1, 1, 2, 2, 2, 1]) == [1, 2, 1]


def test_ids_keep_their_type(make: Made) -> None:
    ids = [5, "5", 'a "quoted" ☃', -1, 2**70]
    assert appended(make, "types", ids) == ids


def test_unknown_session_is_empty(make: Made) -> None:
    assert ask(make, lambda store: store.clicks("nobody")) == []


def test_forgotten(make: Made) -> None:
    async def question(store: SessionStore) -> object:
        await store.append("forgotten", 1)
        await store.append("another", 2)
        await store.forget("forgotten")
        await store.forget("forgotten")
        return await store.clicks("forgotten"), await store.clicks("another")

    assert ask(make, question) == ([], [2])


def test_clicks_at_once_all_count(make: Made) -> None:
    """No click is lost between reading and writing."""

    async def question(store: SessionStore) -> object:
        await asyncio.gather(*(store.append("at once", item) for item in range(MOST)))
        return sorted(await store.clicks("at once"))

    assert ask(make, question) == list(range(MOST))


def test_own_list() -> None:
    async def question(store: SessionStore) -> object:
        (await store.append("own", 1)).append(2)
        (await store.clicks("own")).append(3)
        return await store.clicks("own")

    assert ask(lambda: MemoryStore(MOST), question) == [1]


def test_ends_after_its_last_click() -> None:
    now = [0.0]
    store = MemoryStore(MOST, lifetime=10, clock=lambda: now[0])

    async def question() -> None:
        await store.append("early", 1)
        now[0] = 6.0
        await store.append("late", 2)
        await store.append("early", 3)
        now[0] = 15.9
        assert await store.clicks("early") == [1, 3]  # reading does not prolong
        now[0] = 16.0
        assert await store.clicks("early") == []
        assert len(store) == 0

    asyncio.run(question())


def test_bytes_are_bounded() -> None:
    """Long ids push out the sessions that were clicked in longest ago, and the latest click is there all the same."""
    store = MemoryStore(MOST, size=3000)

    async def question() -> None:
        for number in range(20):
            for letter in "abc":
                await store.append(str(number), letter * 300)
        assert len(store) == 2
        assert await store.clicks("19") == ["a" * 300, "b" * 300, "c" * 300]
        await store.forget("19")
        await store.append("18", "d")
        await store.append("20", "e" * 1500)
        assert (len(store), await store.clicks("18")) == (2, ["a" * 300, "b" * 300, "c" * 300, "d"])
        await store.append("21", "f" * 9000)
        assert len(store) == 0

    asyncio.run(question())


def test_clicked_in_longest_ago_goes_first() -> None:
    store = MemoryStore(MOST, sessions=2)

    async def question() -> None:
        for session in ("a", "b", "a", "c"):
            await store.append(session, 1)
        assert len(store) == 2
        assert await store.clicks("b") == []
        assert await store.clicks("a") == [1]

    asyncio.run(question())
