"""The module that is exported: a trained model with its items, from raw ids to raw ids."""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from tagnn_fast.checks import rise_to
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.ranking import zero_where_unknown
from tagnn_fast.serving.finite import NOT_FINITE, check_finite
from tagnn_fast.serving.requests import NO_ITEM, UNKNOWN_ID


class ServingModel(nn.Module):
    """Recommends for sessions of raw item ids; made to be scripted, and lenient where serving needs it.

    In all methods a session's unknown items are skipped, and a session with nothing known gets the most popular items.
    `items` are the raw ids of all clicks, int64 (clicks,), and session b's are ``items[offsets[b]:offsets[b + 1]]``,
    offsets int64 (sessions + 1,). Where raw ids are strings, these methods raise: :meth:`recommend_strings` takes the
    ids, and tensors hold item indices, 1 to the number of items (any other number is unknown), in the methods with
    `_indices` in their names, which raise where raw ids are integers. :meth:`item_indices` gives the index of an id.

    Those that recommend give items, scores and status, and take what a call asks for: `k`, where one above the number
    of items is that number; `candidates`, the only items to choose from, in any order; `exclude_clicked`, so that no
    session gets an item of its own; and `exclude`, items that no session gets. Unknown ones among these do not matter,
    and lists are shorter where too few items are left. Nothing is kept between calls. What TorchScript raises is always
    a ``torch.jit.Error`` whose text names the exception.

    Args:
        ranker: what depends on the model, from :attr:`Recommender.ranker`; its parameters no longer take gradients.
        vocabulary: its items.

    Raises:
        ValueError: on a parameter that is not finite, or an item with the id -2^63, which stands for unknown ones.
    """

    raw_ids: Tensor
    sorted_ids: Tensor
    sorted_items: Tensor
    names: list[str]
    name_items: dict[str, int]

    def __init__(self, ranker: nn.Module, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.ranker: Any = ranker.eval().requires_grad_(False)  # what its encode gives, no other takes
        if isinstance(ranker, NetworkRanker):
            ranker.refresh_screen()  # a program cannot tell whether it is of these vectors
        self.can_explain = ranker.can_explain
        self.has_strings = not vocabulary.integers
        count = len(vocabulary)
        self.num_items = count
        indices = torch.arange(1, count + 1)
        ids = torch.from_numpy(vocabulary.raw_ids.to_numpy().copy()) if vocabulary.integers else indices
        sorted_ids, order = ids.sort()
        if count and int(sorted_ids[0]) == UNKNOWN_ID:
            raise ValueError(f"item ids: expected integers above {UNKNOWN_ID}, got that one")
        buffers = {
            "raw_ids": torch.cat([ids, torch.tensor([NO_ITEM])]),  # of each row of the table; row -1 is no item
            "sorted_ids": sorted_ids,
            "sorted_items": order + 1,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)
        held = *ranker.named_parameters(), *ranker.named_buffers(), *self.named_buffers(recurse=False)
        check_finite((name.removeprefix("model."), value) for name, value in held)  # a network's own names
        self.not_finite = NOT_FINITE
        names = vocabulary.raw_ids.to_pylist() if self.has_strings else []
        self.names = ["", *names]
        self.name_items = {name: item for item, name in enumerate(names, 1)}

    def forward(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor] = None,
        exclude_clicked: bool = False,
        exclude: Optional[Tensor] = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Raw ids, int64, and scores, float, of each session's best, (sessions, min(k, items)); status, (sessions,).

        Best first, equal scores by item index (a baseline's and a blend's by popularity, then by item index). Where
        fewer items are left, the rest are -1 and -inf. A popular item's score is its clicks in training. Status: 0,
        answered in full; 1, unknown items were skipped; 2, nothing is known, answered by popularity. `candidates` and
        `exclude` are raw ids, int64 (any,).

        Raises:
            ValueError: where raw ids are strings, or on a k under 1.
            FloatingPointError: where a score is not finite.
        """
        self._expect_strings(False, "forward")
        return self._best(items, offsets, k, candidates, exclude_clicked, exclude)

    @torch.jit.export
    def forward_indices(
        self,
        indices: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor] = None,
        exclude_clicked: bool = False,
        exclude: Optional[Tensor] = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`forward`, of item indices, where raw ids are strings."""
        self._expect_strings(True, "forward_indices")
        return self._best(indices, offsets, k, candidates, exclude_clicked, exclude)

    @torch.jit.export
    def recommend(
        self,
        sessions: list[list[int]],
        k: int = 20,
        candidates: Optional[list[int]] = None,
        exclude_clicked: bool = False,
        exclude: Optional[list[int]] = None,
    ) -> tuple[list[list[int]], list[list[float]], list[int]]:
        """Raw ids and scores of the best k items of each session, best first, and each session's status."""
        self._expect_strings(False, "recommend")
        items, offsets = self._tensors(sessions)
        chosen, excluded = self._optional_ids(candidates), self._optional_ids(exclude)
        return self._lists(self.forward(items, offsets, k, chosen, exclude_clicked, excluded))

    @torch.jit.export
    def recommend_strings(
        self,
        sessions: list[list[str]],
        k: int = 20,
        candidates: Optional[list[str]] = None,
        exclude_clicked: bool = False,
        exclude: Optional[list[str]] = None,
    ) -> tuple[list[list[str]], list[list[float]], list[int]]:
        """The same where raw ids are strings."""
        self._expect_strings(True, "recommend_strings")
        known: list[list[int]] = []
        for session in sessions:
            known.append([self.name_items.get(name, 0) for name in session])
        indices, offsets = self._tensors(known)
        chosen, excluded = self._optional_names(candidates), self._optional_names(exclude)
        best = self.forward_indices(indices, offsets, k, chosen, exclude_clicked, excluded)
        found, scores, status = self._lists(best)
        return [[self.names[item] for item in line] for line in found], scores, status

    @torch.jit.export
    def scores(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Scores of all items, float (sessions, number of items), in the order of :meth:`item_ids`.

        A blend's are shares of 1. A session with nothing known scores every item 0.

        Raises:
            ValueError: where raw ids are strings.
            FloatingPointError: where a score is not finite.
        """
        self._expect_strings(False, "scores")
        return self._scores(self.known(items), offsets)

    @torch.jit.export
    def scores_indices(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """As :meth:`scores`, of item indices, in the order of :meth:`item_strings`, where raw ids are strings."""
        self._expect_strings(True, "scores_indices")
        return self._scores(self.known(indices), offsets)

    @torch.jit.export
    def item_ids(self) -> Tensor:
        """Raw ids in the order of score columns, int64 (number of items,); raises where they are strings."""
        self._expect_strings(False, "item_ids")
        return self.raw_ids[:-1]

    @torch.jit.export
    def item_strings(self) -> list[str]:
        """Raw ids in the order of score columns, where they are strings; the first has item index 1."""
        self._expect_strings(True, "item_strings")
        return self.names[1:]

    @torch.jit.export
    def item_indices(self, strings: list[str]) -> Tensor:
        """Item index of each raw id, 0 for unknown ones, int64, where raw ids are strings."""
        self._expect_strings(True, "item_indices")
        return torch.tensor([self.name_items.get(name, 0) for name in strings], dtype=torch.int64)

    @torch.jit.export
    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """Weight of each click in its session's attention for a target, float (clicks,) (TAGNN, equation 8).

        `targets` are one raw id per session, int64 (sessions,). A session's weights sum to 1 in "clean" semantics;
        in "published" semantics padded positions have the rest. Unknown items weigh 0, and all for an unknown target.

        Raises:
            ValueError: where raw ids are strings, or for a model that cannot explain.
            FloatingPointError: where a weight is not finite.
        """
        self._expect_strings(False, "explain")
        return self._explain(self.known(items), offsets, self.known(targets))

    @torch.jit.export
    def explain_indices(self, indices: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """As :meth:`explain`, of item indices, targets as well, where raw ids are strings."""
        self._expect_strings(True, "explain_indices")
        return self._explain(self.known(indices), offsets, self.known(targets))

    def known(self, items: Tensor) -> Tensor:
        """Item indices of raw ids (of item indices, where ids are strings), 0 for unknown ones."""
        if items.dtype != torch.int64 or items.dim() != 1:
            raise ValueError("items, targets, candidates, exclude: expected int64 vectors, got another dtype or shape")
        place = torch.searchsorted(self.sorted_ids, items).clamp(max=self.num_items - 1)
        return torch.where(self.sorted_ids[place] == items, self.sorted_items[place], 0)

    def answer(self, rows: Tensor, scores: Tensor, known: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw ids, scores and status of best rows, int64 (sessions, k), given the known clicks of each session."""
        status = torch.where(known == 0, 2, (known < offsets.diff()).long())
        return self.raw_ids[rows], scores, status

    def _best(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        exclude_clicked: bool,
        exclude: Optional[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        if k < 1:
            raise ValueError(f"k: expected 1 or more, got {k}")
        indices = self.known(items)
        self._expect_offsets(offsets, indices.shape[0])
        left_out: Optional[Tensor] = None
        if exclude is not None:  # each session gets a copy
            left_out = self.known(exclude)
            left_out = torch.unique(left_out[left_out > 0]) - 1
        best = self.ranker.best_rows(
            self.ranker.encode(indices, offsets),
            indices,
            offsets,
            min(k, self.num_items),
            self.known(candidates) - 1 if candidates is not None else None,
            indices - 1 if exclude_clicked else None,
            left_out,
        )
        self._expect_finite(best.finite)
        return self.answer(best.rows, best.scores, best.known_clicks, offsets)

    def _expect_strings(self, strings: bool, method: str) -> None:
        if self.has_strings != strings:
            kinds = ["strings", "integers"] if strings else ["integers", "strings"]
            raise ValueError(f"{method}: expected a model whose item ids are {kinds[0]}, got one with {kinds[1]}")

    def _expect_finite(self, finite: Tensor) -> None:
        if not bool(finite):
            raise FloatingPointError(self.not_finite)

    def _expect_offsets(self, offsets: Tensor, clicks: int) -> None:
        if not rise_to(offsets, clicks):
            raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {clicks}, int64, got others")

    def _optional_ids(self, ids: Optional[list[int]]) -> Optional[Tensor]:
        return torch.tensor(ids, dtype=torch.int64) if ids is not None else None

    def _optional_names(self, names: Optional[list[str]]) -> Optional[Tensor]:
        return self.item_indices(names) if names is not None else None

    def _tensors(self, sessions: list[list[int]]) -> tuple[Tensor, Tensor]:
        flat: list[int] = []
        ends = [0]
        for session in sessions:
            flat.extend(session)
            ends.append(len(flat))
        return torch.tensor(flat, dtype=torch.int64), torch.tensor(ends)

    def _lists(self, answer: tuple[Tensor, Tensor, Tensor]) -> tuple[list[list[int]], list[list[float]], list[int]]:
        ids, scores, status = answer
        found: list[list[int]] = []
        values: list[list[float]] = []
        for b in range(len(scores)):
            kept = int((scores[b] > -torch.inf).sum())
            best: list[int] = ids[b, :kept].tolist()
            best_scores: list[float] = scores[b, :kept].double().tolist()
            found.append(best)
            values.append(best_scores)
        answered: list[int] = status.tolist()
        return found, values, answered

    def _scores(self, indices: Tensor, offsets: Tensor) -> Tensor:
        self._expect_offsets(offsets, indices.shape[0])
        scores: Tensor = self.ranker.scores(self.ranker.encode(indices, offsets), indices, offsets, None)
        self._expect_finite(scores.isfinite().all())
        return zero_where_unknown(scores, indices, offsets)

    def _explain(self, indices: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        if not self.can_explain:
            raise ValueError("explain: expected a model that can explain, got one without target attention")
        self._expect_offsets(offsets, indices.shape[0])
        if targets.shape[0] != offsets.shape[0] - 1:
            raise ValueError(f"targets: expected one per session, {offsets.shape[0] - 1}, got {targets.shape[0]}")
        weights: Tensor = self.ranker.explain(self.ranker.encode(indices, offsets), indices, offsets, targets - 1)
        self._expect_finite(weights.isfinite().all())
        return weights
