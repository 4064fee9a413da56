"""What all routes share: the models, the queue, the limits, and how a request is put to a model."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from tagnn_fast.checks import check_count
from tagnn_fast.parallel.processes import LostProcessError
from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.formats import can, old_export
from tagnn_fast.serving.http.messages import Choices, ItemId, RequestError
from tagnn_fast.serving.http.models import LoadedModel, Models
from tagnn_fast.serving.http.observer import Observer
from tagnn_fast.serving.http.questions import ExplainQuestion, RecommendQuestion
from tagnn_fast.serving.http.scoring_queue import ClientGone, DeadlinePassed, Question, QueueFull, ScoringQueue

logger = logging.getLogger(__name__)

TIMEOUT_HEADER = "X-Timeout-Ms"
_CALL_SESSIONS = 128  # scored in one call: larger ones gain little, and all of it waits for them
_CALL_CLICKS = 1 << 16  # the same, and of one request: each takes some kilobytes while it is scored
_EXCLUDED = 1 << 20  # of a request, counted for each of its sessions: each takes some ten bytes


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how many may wait.

    Attributes:
        body: bytes of a request.
        sessions: of a request.
        clicks: of a session.
        k: length of a list; also how many items may be explained at once.
        queue: sessions that may wait for the scoring thread; also how many requests may be unanswered in all.
        timeout: seconds a request may take; X-Timeout-Ms may ask for less.

    Raises:
        TypeError, ValueError: on one that is no positive number, or a queue without room for one request.
    """

    body: int = 1 << 20
    sessions: int = 256
    clicks: int = 1000
    k: int = 100
    queue: int = 512
    timeout: float = 2.0

    def __post_init__(self) -> None:
        for name in ("body", "sessions", "clicks", "k", "queue"):
            check_count(getattr(self, name), name)
        if not 0 < self.timeout < float("inf"):
            raise ValueError(f"timeout: expected seconds above 0, got {self.timeout}")
        if self.queue < max(self.sessions, self.k):
            raise ValueError(
                f"queue: expected room for the largest request, {max(self.sessions, self.k)}, got {self.queue}"
            )


class Service:
    """What an application answers with.

    Args:
        models: that are loaded.
        limits: of each request and of the queue.
        threads: of PyTorch, for each call of a model.
        observer: hears what happens.

    Attributes:
        draining: whether it is about to end: ready says so, and all else goes on. So it is once a process is lost that
            has a part of a model.
    """

    def __init__(self, models: Models, limits: Limits, threads: int, observer: Observer) -> None:
        self.models, self.limits, self.observer = models, limits, observer
        self.queue = ScoringQueue(limits.queue, _CALL_SESSIONS, _CALL_CLICKS, threads, observer)
        self.draining = False

    def start(self) -> None:
        """Take requests, also after a :meth:`close`. Threads start with the first, if not here."""
        self.draining = False
        self.queue.open()
        self.models.watch()

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        self.draining = True
        self.models.close()
        self.queue.close()

    async def recommend(
        self, request: Request, sessions: list[list[ItemId]], choices: Choices, field: str = "sessions"
    ) -> tuple[LoadedModel, Recommendations]:
        """The best items of each session, and the model that answered.

        Args:
            request: whose client waits, and whose deadline counts.
            sessions: raw ids, oldest click first.
            choices: what is asked for.
            field: of the request that has the sessions, for errors.

        Raises:
            RequestError: 422 with the field that is wrong, 503 where the queue is full, 504 after the deadline, 500
                where scoring failed.
            ClientGone: where nobody waits any longer.
        """
        model = self.model(choices.model, choices.key, sessions)
        self.check(model, sessions, choices, field)
        return model, await self.recommend_by(model, request, sessions, choices)

    def check(self, model: LoadedModel, sessions: list[list[ItemId]], choices: Choices, field: str) -> None:
        """Refuse what this model is not to be asked; see :meth:`recommend`.

        Raises:
            RequestError: 422.
        """
        limits = self.limits
        if len(sessions) > limits.sessions:
            raise _wrong("sessions", f"at most {limits.sessions}", len(sessions))
        for session in sessions:
            if len(session) > limits.clicks:
                raise _wrong(field, f"at most {limits.clicks} clicks a session", len(session))
        clicks = sum(map(len, sessions))
        if clicks > _CALL_CLICKS:
            raise _wrong(field, f"at most {_CALL_CLICKS} clicks in all", clicks)
        longest = self.longest(model)
        if not 1 <= choices.k <= longest:
            raise _wrong("k", f"1 to {longest}", choices.k)
        for session in sessions:
            check_ids(model, session, field)
        check_ids(model, choices.candidates or (), "candidates")
        if len(choices.exclude) * len(sessions) > _EXCLUDED:
            expected = f"at most {_EXCLUDED // len(sessions)} for {len(sessions)} sessions"
            raise _wrong("exclude", expected, len(choices.exclude))
        check_ids(model, choices.exclude, "exclude")
        for name in ("exclude_clicked", "candidates", "exclude"):
            if getattr(choices, name) and not can(model.served.manifest["version"], name):
                raise RequestError(422, name, str(old_export(name)))

    def longest(self, model: LoadedModel) -> int:
        """The highest k that this model may be asked for; it has fewer items, perhaps, and answers with all of them."""
        whole = model.k_max == model.served.manifest["items"]
        return self.limits.k if whole else min(self.limits.k, model.k_max)

    async def recommend_by(
        self, model: LoadedModel, request: Request, sessions: list[list[ItemId]], choices: Choices
    ) -> Recommendations:
        """The best items of each session by this model, of what was checked; see :meth:`recommend`.

        Raises:
            RequestError: 503, 504 or 500.
            ClientGone: where nobody waits any longer.
        """
        question = RecommendQuestion(
            model, sessions, choices.k, choices.candidates, choices.exclude, choices.exclude_clicked
        )
        answer: Recommendations = await self.ask(request, question)
        self.observer.recommended(model.name, answer)
        return answer

    async def explain(
        self, request: Request, session: list[ItemId], items: list[ItemId], name: str | None
    ) -> tuple[LoadedModel, list[list[float]]]:
        """How much each click weighs in the attention for each item, and the model that answered.

        Raises:
            RequestError, ClientGone: see :meth:`recommend`; 422 for a model that cannot explain.
        """
        if len(session) > self.limits.clicks:
            raise _wrong("session", f"at most {self.limits.clicks} clicks", len(session))
        if len(items) > self.limits.k:
            raise _wrong("items", f"at most {self.limits.k}", len(items))
        if len(items) * len(session) > _CALL_CLICKS:
            raise _wrong("items", f"at most {_CALL_CLICKS // len(session)} for {len(session)} clicks", len(items))
        model = self.model(name, None, [session])
        if not model.served.can_explain:
            raise RequestError(422, "model", f"model: expected one that can explain, got {model.name!r}, which cannot")
        check_ids(model, session, "session")
        check_ids(model, items, "items")
        return model, await self.ask(request, ExplainQuestion(model, session, items))

    def model(self, name: str | None, key: str | None, sessions: list[list[ItemId]]) -> LoadedModel:
        """The model that a request gets: the one it names, or the one that its key or its clicks fall to.

        Raises:
            RequestError: 422 where there is none of this name.
        """
        if name is None:
            return self.models.chosen_for(lambda: key if key is not None else repr(sessions))
        model = self.models.named(name)
        if model is None:
            names = ", ".join(model.name for model in self.models)
            raise RequestError(422, "model", f"model: expected one of {names}, got {name!r}")
        return model

    async def ask(self, request: Request, question: Question) -> Any:
        """What the scoring thread answers.

        Raises:
            RequestError, ClientGone: see :meth:`recommend`.
        """
        timeout = self.timeout(request)

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        try:
            return await self.queue.ask(question, timeout, gone)
        except QueueFull:
            raise too_many() from None
        except DeadlinePassed:
            raise too_late(timeout) from None
        except (ClientGone, ClientDisconnect):
            raise
        except NotImplementedError as error:  # what an old export cannot do
            raise RequestError(422, str(error).partition(":")[0], str(error)) from None
        except FloatingPointError as error:
            logger.error("%s: %s", question, error)
            raise RequestError(500, None, str(error)) from None
        except LostProcessError as error:  # no question can be answered any more
            self.draining = True
            logger.error("%s", error)
            raise RequestError(503, None, "a process with a part of the model was lost") from None
        except Exception:
            logger.exception("scoring failed")
            raise RequestError(500, None, "scoring failed; the log says why") from None

    def timeout(self, request: Request) -> float:
        """Seconds that a request may take.

        Raises:
            RequestError: 422 on a header that is no number above 0.
        """
        given = request.headers.get(TIMEOUT_HEADER)
        if given is None:
            return self.limits.timeout
        digits = given.lstrip("0")[:9]  # enough for any limit
        if not (given.isascii() and given.isdigit() and digits):
            raise _wrong(TIMEOUT_HEADER, "milliseconds, 1 or more", given)
        return min(int(digits) / 1000, self.limits.timeout)


def too_many() -> RequestError:
    """What is said to those for whom there is no place."""
    return RequestError(503, None, "as many wait as may: try again", {"Retry-After": "1"})


def too_late(seconds: float) -> RequestError:
    """What is said to those who waited as long as they may."""
    return RequestError(504, None, f"no answer within {1000 * seconds:g} ms")


def check_ids(model: LoadedModel, ids: Sequence[ItemId], field: str) -> None:
    """Refuse integers for a model whose items have strings; among integers, a string is read as one.

    Raises:
        RequestError: 422.
    """
    if model.has_strings:
        for item in ids:
            if type(item) is not str:
                raise _wrong(field, f"strings, as the item ids of {model.name!r}", item)


def _wrong(field: str, expected: str, found: object) -> RequestError:
    return RequestError(422, field, f"{field}: expected {expected}, got {reprlib.repr(found)}")
