"""What a request asks of a model, made ready for the scoring thread."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.http.models import LoadedModel
from tagnn_fast.serving.http.scoring_queue import Question
from tagnn_fast.serving.requests import integer_id


class RecommendQuestion(Question):
    """The best items of a request's sessions; see :meth:`ServedModel.recommend`.

    Without candidates and exclusions of its own it is answered with others in one call, of the longest list among them.
    """

    def __init__(
        self,
        model: LoadedModel,
        sessions: list[list[Any]],
        k: int,
        candidates: list[Any] | None = None,
        exclude: list[Any] | None = None,
        exclude_clicked: bool = False,
    ) -> None:
        self.model, self._lists, self._k = model, sessions, k
        self._candidates, self._exclude, self._exclude_clicked = candidates, exclude or None, exclude_clicked
        self.sessions, self.clicks = len(sessions), sum(map(len, sessions))

    def alike(self) -> Hashable:
        """See :class:`Question`."""
        own = self._candidates is not None or self._exclude is not None
        return None if own else (id(self.model), self._exclude_clicked)

    def answer_all(self, questions: Sequence[RecommendQuestion]) -> list[Recommendations]:
        """See :class:`Question`."""
        answer = self.model.served.recommend(
            [session for question in questions for session in question._lists],
            max(question._k for question in questions),
            candidates=self._candidates,
            exclude_clicked=self._exclude_clicked,
            exclude=self._exclude,
        )
        if len(questions) == 1:
            return [answer]
        parts, begin = [], 0
        for question in questions:
            part, k = slice(begin, begin + question.sessions), question._k
            parts.append(
                Recommendations(
                    [line[:k] for line in answer.items[part]],
                    [line[:k] for line in answer.scores[part]],
                    answer.status[part],
                    answer.skipped[part],
                    answer.integers,
                )
            )
            begin += question.sessions
        return parts


class ExplainQuestion(Question):
    """How much each click of a session weighs in the attention for each of some items."""

    def __init__(self, model: LoadedModel, session: list[Any], items: list[Any]) -> None:
        self.model, self._session, self._items = model, session, items
        self.sessions, self.clicks = len(items), len(items) * len(session)

    def alike(self) -> Hashable:
        """See :class:`Question`."""
        return None

    def answer_all(self, questions: Sequence[ExplainQuestion]) -> list[list[list[float]]]:
        """A list for each item, with a weight for each click."""
        count, clicks = len(self._items), len(self._session)
        flat, targets = self._session * count, self._items
        offsets = torch.arange(count + 1) * clicks
        served = self.model.served
        if self.model.has_strings:
            weights = served.explain(flat, offsets, targets)
        else:
            tensors = (torch.tensor([integer_id(item) for item in ids], dtype=torch.int64) for ids in (flat, targets))
            items, wanted = tensors
            weights = served.explain(items, offsets, wanted)
        return [weights.double().view(count, clicks).tolist()]
