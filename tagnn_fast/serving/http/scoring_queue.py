"""One thread that scores, and one bounded queue before it.

A round takes whatever waits, without a timer: a lone question is scored at once, and a crowd together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch

from tagnn_fast.serving.http.observer import Observer

Gone = Callable[[], Coroutine[Any, Any, None]]
PATIENCE = 0.05  # seconds after which it is worth a task to see whether the client is still there


class QueueFull(Exception):  # noqa: N818  (what happened, not a fault)
    """As many sessions wait as may, or nobody scores any more."""


class DeadlinePassed(Exception):  # noqa: N818
    """Nobody waits for this answer any longer."""


class ClientGone(Exception):  # noqa: N818
    """Nobody is there to get this answer."""


class Question(ABC):
    """What is asked of a model.

    Attributes:
        sessions: how many it has, for the queue's bound.
        clicks: how many these have together.
    """

    sessions: int
    clicks: int

    @abstractmethod
    def alike(self) -> Hashable:
        """Questions for which this is equal are answered in one call; None: this one alone."""

    @abstractmethod
    def answer_all(self, questions: Sequence[Any]) -> list[Any]:
        """The answers to questions alike, this one among them. Called on the scoring thread."""


class _Waiting:
    """A question in the queue, and who waits for its answer."""

    __slots__ = ("alike", "asked", "deadline", "future", "loop", "question", "watcher")

    def __init__(self, question: Question, timeout: float) -> None:
        self.question, self.alike, self.asked = question, question.alike(), time.monotonic()
        self.deadline = self.asked + timeout
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.watcher: asyncio.Task[None] | None = None

    def end(self, reason: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(reason)

    def watch(self, gone: Gone) -> None:
        self.watcher = self.loop.create_task(self._end_when(gone))

    async def _end_when(self, gone: Gone) -> None:
        await gone()
        self.end(ClientGone())


class ScoringQueue:
    """Answers questions, those alike together.

    Args:
        places: sessions that may wait; a question that finds no place for its own is refused.
        call_sessions: sessions that are scored in one call, unless one question has more.
        call_clicks: the same for their clicks, which take memory.
        threads: of PyTorch, for each call.
        observer: hears of every call.
    """

    def __init__(self, places: int, call_sessions: int, call_clicks: int, threads: int, observer: Observer) -> None:
        self._places, self._call_sessions, self._call_clicks = places, call_sessions, call_clicks
        self._threads, self._observer = threads, observer
        self._waiting: dict[_Waiting, None] = {}  # in the order of arrival; whoever leaves is taken out
        self._depth = 0
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def depth(self) -> int:
        """Sessions that wait."""
        return self._depth

    async def ask(self, question: Question, timeout: float, gone: Gone) -> Any:
        """The answer; whoever cancels this leaves the queue.

        Args:
            question: to answer.
            timeout: in seconds; what is not being scored by then never is.
            gone: ends when the client is gone, with whom the question leaves the queue.

        Raises:
            QueueFull: at once, where there is no place.
            DeadlinePassed: after `timeout`.
            ClientGone: where it is.
            Exception: what scoring raised.
        """
        waiting = _Waiting(question, timeout)
        self._enter(waiting)
        timers = (
            waiting.loop.call_later(timeout, waiting.end, DeadlinePassed()),
            waiting.loop.call_later(PATIENCE, waiting.watch, gone),
        )
        try:
            return await waiting.future
        finally:
            for timer in timers:
                timer.cancel()
            if waiting.watcher is not None:
                waiting.watcher.cancel()
            self._leave(waiting)
            waiting.watcher = None  # no circle of references is to keep a model that was replaced
            del waiting

    def close(self) -> None:
        """Score what waits, and end the thread. Whoever asks afterwards finds the queue full, until :meth:`open`."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def open(self) -> None:
        """Take questions again."""
        self._closed = False

    def _enter(self, waiting: _Waiting) -> None:
        sessions = waiting.question.sessions
        with self._condition:
            if self._closed or self._depth + sessions > self._places:
                raise QueueFull
            self._waiting[waiting] = None
            self._depth += sessions
            if self._thread is None or not self._thread.is_alive():  # not before: a process may fork until then
                self._thread = threading.Thread(target=self._score_rounds, name="scoring", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _leave(self, waiting: _Waiting) -> None:
        with self._condition:
            if waiting in self._waiting:
                del self._waiting[waiting]
                self._depth -= waiting.question.sessions

    def _score_rounds(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._condition:
                while not self._waiting:
                    if self._closed:
                        return
                    self._condition.wait()
                group = self._take()
            if group:
                self._score(group)
            del group  # whose models may be replaced while this waits

    def _take(self) -> list[_Waiting]:
        """The question that waits longest, and those alike that fit into its call; without those that are too late."""
        group: list[_Waiting] = []
        sessions, clicks, now = self._call_sessions, self._call_clicks, time.monotonic()  # left in this call
        for waiting in list(self._waiting):
            question = waiting.question
            if waiting.deadline > now:
                fits = question.sessions <= sessions and question.clicks <= clicks
                if group and not (fits and waiting.alike == group[0].alike):
                    continue
                group.append(waiting)
                sessions, clicks = sessions - question.sessions, clicks - question.clicks
            del self._waiting[waiting]
            self._depth -= question.sessions
            if group and group[0].alike is None:
                break
        return group

    def _score(self, group: Sequence[_Waiting]) -> None:
        began = time.monotonic()
        questions = [waiting.question for waiting in group]
        try:
            answers = questions[0].answer_all(questions)
        except Exception as error:
            if len(group) > 1:  # those of others are not to fail with one
                for waiting in group:
                    self._score([waiting])
                return
            answers = [error]
        waited = [began - waiting.asked for waiting in group]
        self._observer.scored(sum(question.sessions for question in questions), waited, time.monotonic() - began)
        for loop in {waiting.loop for waiting in group}:
            own = [pair for pair in zip(group, answers, strict=True) if pair[0].loop is loop]
            with suppress(RuntimeError):  # a loop that is closed has nobody who waits
                loop.call_soon_threadsafe(_deliver, own)


def _deliver(answers: Iterable[tuple[_Waiting, Any]]) -> None:
    for waiting, answer in answers:
        if waiting.future.done():
            continue
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)
