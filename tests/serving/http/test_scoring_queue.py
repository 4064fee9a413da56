"""The queue alone: questions that say when they are scored, and may be held back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tagnn_fast.serving.http.observer import Observer
from tagnn_fast.serving.http.scoring_queue import ClientGone, DeadlinePassed, Question, QueueFull, ScoringQueue
from tests.serving.http.services import happens


class Held(Question):
    """Answers with its number once the gate is open; keeps a log of calls."""

    def __init__(self, number: int, kind: Hashable = "any", sessions: int = 1, clicks: int = 1) -> None:
        self.number, self.kind, self.sessions, self.clicks = number, kind, sessions, clicks

    calls: list[list[int]]
    gate: threading.Event

    def alike(self) -> Hashable:
        return self.kind

    def answer_all(self, questions: Sequence[Held]) -> list[int]:
        self.calls.append([question.number for question in questions])
        assert self.gate.wait(30)
        if any(question.number < 0 for question in questions):
            raise FloatingPointError("below zero")
        return [question.number for question in questions]


class Heard(Observer):
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def scored(self, sessions: int, waited: Sequence[float], seconds: float) -> None:
        assert all(value >= 0 for value in (*waited, seconds))
        self.calls.append((sessions, len(waited)))


@contextmanager
def queue_of(places: int = 100, sessions: int = 8, clicks: int = 1000) -> Iterator[tuple[ScoringQueue, Heard]]:
    Held.calls, Held.gate, heard = [], threading.Event(), Heard()
    queue = ScoringQueue(places, sessions, clicks, 1, heard)
    try:
        yield queue, heard
    finally:
        Held.gate.set()
        queue.close()


async def never() -> None:
    await asyncio.Event().wait()


def start(queue: ScoringQueue, *questions: Held, timeout: float = 30) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(queue.ask(question, timeout, never)) for question in questions]


def test_a_round_takes_what_waits() -> None:
    """The first is scored alone and at once; what came in the meantime is answered together, up to the bound."""

    async def ask() -> None:
        with queue_of() as (queue, heard):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            tasks += start(queue, *(Held(number) for number in range(1, 11)))
            await happens(lambda: queue.depth == 10)
            Held.gate.set()
            assert await asyncio.gather(*tasks) == list(range(11))
            assert Held.calls == [[0], list(range(1, 9)), [9, 10]]
            assert heard.calls == [(1, 1), (8, 8), (2, 2)]
            assert queue.depth == 0

    asyncio.run(ask())


def test_who_is_answered_together() -> None:
    """Those alike, in the order of the first of them; one with a choice of its own alone; bounded by clicks as well."""

    async def ask() -> None:
        with queue_of(clicks=20) as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            kinds = [Held(1, "a"), Held(2, "b"), Held(3, None), Held(4, "a"), Held(5, None), Held(6, "b")]
            sizes = [Held(7, "c", sessions=5), Held(8, "c", sessions=4), Held(9, "c", sessions=3)]
            clicks = [Held(10, "d", clicks=15), Held(11, "d", clicks=6), Held(12, "d", clicks=5), Held(13, "e", 99, 99)]
            tasks += start(queue, *kinds, *sizes, *clicks[:3])
            await happens(lambda: queue.depth == 21)
            Held.gate.set()
            assert await asyncio.gather(*tasks) == list(range(13))
            assert Held.calls[1:] == [[1, 4], [2, 6], [3], [5], [7, 9], [8], [10, 12], [11]]
            assert await queue.ask(clicks[3], 30, never) == 13  # larger than the bounds, but within the queue's

    asyncio.run(ask())


def test_full() -> None:
    """Refused at once; whoever leaves makes room."""

    async def ask() -> None:
        with queue_of(places=3) as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            tasks += start(queue, Held(1, sessions=2), Held(2))
            await happens(lambda: queue.depth == 3)
            with pytest.raises(QueueFull):
                await queue.ask(Held(3), 30, never)
            tasks[1].cancel()
            await happens(lambda: queue.depth == 1)
            with pytest.raises(QueueFull):
                await queue.ask(Held(3, sessions=3), 30, never)
            tasks += start(queue, Held(4, sessions=2))
            await happens(lambda: queue.depth == 3)
            Held.gate.set()
            assert await asyncio.gather(tasks[0], *tasks[2:]) == [0, 2, 4]
            assert Held.calls == [[0], [2, 4]]

    asyncio.run(ask())


def test_deadline() -> None:
    """Whoever waits too long hears so in time, though the thread is busy; and nothing of it is scored."""

    async def ask() -> None:
        with queue_of() as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            began = time.monotonic()
            with pytest.raises(DeadlinePassed):
                await queue.ask(Held(1), 0.05, never)
            assert time.monotonic() - began < 5
            assert queue.depth == 0
            tasks += start(queue, Held(2))
            Held.gate.set()
            assert await asyncio.gather(*tasks) == [0, 2]
            assert Held.calls == [[0], [2]]

    asyncio.run(ask())


def test_deadline_of_what_the_thread_takes_first() -> None:
    """What is late when the thread comes is left out, though the event loop had no time to say so."""

    async def ask() -> None:
        with queue_of() as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            tasks += start(queue, Held(2), timeout=0.001)
            await asyncio.sleep(0)
            time.sleep(0.01)
            Held.gate.set()
            time.sleep(0.1)  # the thread goes on, the loop stands still
            assert 2 not in [number for call in Held.calls for number in call]
            with pytest.raises(DeadlinePassed):
                await tasks[-1]

    asyncio.run(ask())


def test_client_gone() -> None:
    async def ask() -> None:
        with queue_of() as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            gone = asyncio.Event()

            async def until_gone() -> None:
                await gone.wait()

            leaving = asyncio.create_task(queue.ask(Held(1), 30, until_gone))
            await happens(lambda: queue.depth == 1)
            gone.set()
            with pytest.raises(ClientGone):
                await leaving
            assert queue.depth == 0
            Held.gate.set()
            assert await asyncio.gather(*tasks) == [0]
            assert Held.calls == [[0]]

    asyncio.run(ask())


def test_one_failure_is_nobody_elses() -> None:
    async def ask() -> None:
        with queue_of() as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            tasks += start(queue, Held(1), Held(-2), Held(3))
            await happens(lambda: queue.depth == 3)
            Held.gate.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert answers[:2] + answers[3:] == [0, 1, 3]
            assert isinstance(answers[2], FloatingPointError)
            assert Held.calls[1:] == [[1, -2, 3], [1], [-2], [3]]
            assert await queue.ask(Held(4), 30, never) == 4

    asyncio.run(ask())


def test_close_answers_what_waits() -> None:
    """And refuses what comes then, until it is opened again."""

    async def ask() -> None:
        with queue_of() as (queue, _):
            tasks = start(queue, Held(0))
            await happens(lambda: Held.calls == [[0]])
            tasks += start(queue, Held(1), Held(2))
            await happens(lambda: queue.depth == 2)
            closing = asyncio.create_task(asyncio.to_thread(queue.close))
            await asyncio.sleep(0.02)
            with pytest.raises(QueueFull):
                await queue.ask(Held(3), 30, never)
            Held.gate.set()
            await closing
            assert await asyncio.gather(*tasks) == [0, 1, 2]
            queue.open()
            assert await queue.ask(Held(4), 30, never) == 4

    asyncio.run(ask())


def test_two_loops() -> None:
    """Questions of two event loops, answered in one call, each to its own."""
    with queue_of() as (queue, _):
        answers: list[int] = []

        def ask(number: int) -> None:
            answers.append(asyncio.run(queue.ask(Held(number), 30, never)))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        Held.gate.set()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == list(range(5))
