"""The module that is exported: a trained model with its items, from raw ids to raw ids."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.serving.finite import NOT_FINITE, check_finite
from tagnn_fast.serving.requests import NO_ITEM, UNKNOWN_ID


class ServingModel(nn.Module):
    """Recommends for sessions of raw item ids; made to be scripted, and lenient where serving needs it.

    In all methods a session's unknown items are skipped, and a session with nothing known gets the most popular items.
    `items` are the raw ids of all clicks, int64 (clicks,), and session b's are ``items[offsets[b]:offsets[b + 1]]``,
    offsets int64 (sessions + 1,). Where raw ids are strings, these methods raise: :meth:`recommend_strings` takes the
    ids, and tensors hold item indices, 1 to the number of items (any other number is unknown), in the methods with
    `_indices` in their names, which raise where raw ids are integers. :meth:`item_indices` gives the index of an id.

    A `k` above the number of items is the number of items. With `exclude_clicked`, no session gets an item of its own,
    and lists are shorter where too few items are left. What TorchScript raises is always a ``torch.jit.Error`` whose
    text names the exception.

    Args:
        model: a trained model; set to evaluation mode.
        vocabulary: its items.
        bfloat16_table: score with item vectors rounded to bfloat16.

    Raises:
        ValueError: on a parameter that is not finite, or an item with the id -2^63, which stands for unknown ones.
    """

    raw_ids: Tensor
    sorted_ids: Tensor
    sorted_items: Tensor
    popular: Tensor
    clicks: Tensor
    popular_candidates: Tensor
    rounded_table: Tensor
    candidates: Tensor
    names: list[str]
    name_items: dict[str, int]

    def __init__(self, model: SessionModel, vocabulary: Vocabulary, bfloat16_table: bool = False) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.target_attention = model.can_explain
        self.has_strings = not vocabulary.integers
        count = len(vocabulary)
        self.num_items = count
        indices = torch.arange(1, count + 1)
        ids = torch.from_numpy(vocabulary.raw_ids.to_numpy().copy()) if vocabulary.integers else indices
        sorted_ids, order = ids.sort()
        if count and int(sorted_ids[0]) == UNKNOWN_ID:
            raise ValueError(f"item ids: expected integers above {UNKNOWN_ID}, got that one")
        popular = torch.from_numpy(vocabulary.by_popularity()) - 1  # rows of the table, as candidates are
        weight = model.item_embedding.weight.detach()
        buffers = {
            "raw_ids": torch.cat([ids, torch.tensor([NO_ITEM])]),  # of each row of the table; row -1 is no item
            "sorted_ids": sorted_ids,
            "sorted_items": order + 1,
            "popular": popular,
            "popular_candidates": popular.clone(),
            "clicks": torch.from_numpy(vocabulary.counts).to(weight.dtype),  # on each row
            "rounded_table": weight[1:].bfloat16() if bfloat16_table else torch.empty(0).bfloat16(),
            "candidates": torch.empty(0, dtype=torch.int64),  # rows of the table
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)
        check_finite([*model.named_parameters(), *self.named_buffers()])
        self.bfloat16_table = bfloat16_table
        self.all_items = True
        self.not_finite = NOT_FINITE
        names = vocabulary.raw_ids.to_pylist() if self.has_strings else []
        self.names = ["", *names]
        self.name_items = {name: item for item, name in enumerate(names, 1)}

    def forward(
        self, items: Tensor, offsets: Tensor, k: int, exclude_clicked: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, float, and raw ids, int64, of each session's best, (sessions, min(k, items)); status, (sessions,).

        Best first, equal scores by item index. Where fewer items are left, the rest are -inf and -1. A popular item's
        score is its clicks in training. Status: 0, answered in full; 1, unknown items were skipped; 2, nothing is
        known, answered by popularity.

        Raises:
            ValueError: where raw ids are strings, or on a k under 1.
            FloatingPointError: where a score is not finite.
        """
        self._expect_strings(False, "forward")
        indices = self.known(items)
        return self.best(indices, offsets, k, indices - 1 if exclude_clicked else None)

    @torch.jit.export
    def forward_indices(
        self, indices: Tensor, offsets: Tensor, k: int, exclude_clicked: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`forward`, of item indices, where raw ids are strings."""
        self._expect_strings(True, "forward_indices")
        indices = self.known(indices)
        return self.best(indices, offsets, k, indices - 1 if exclude_clicked else None)

    @torch.jit.export
    def recommend(
        self, sessions: list[list[int]], k: int, exclude_clicked: bool = False
    ) -> tuple[list[list[int]], list[list[float]], list[int]]:
        """Raw ids and scores of the best k items of each session, best first, and each session's status."""
        self._expect_strings(False, "recommend")
        items, offsets = self._tensors(sessions)
        return self._lists(self.forward(items, offsets, k, exclude_clicked))

    @torch.jit.export
    def recommend_strings(
        self, sessions: list[list[str]], k: int, exclude_clicked: bool = False
    ) -> tuple[list[list[str]], list[list[float]], list[int]]:
        """The same where raw ids are strings."""
        self._expect_strings(True, "recommend_strings")
        known: list[list[int]] = []
        for session in sessions:
            known.append([self.name_items.get(name, 0) for name in session])
        indices, offsets = self._tensors(known)
        found, scores, status = self._lists(self.forward_indices(indices, offsets, k, exclude_clicked))
        return [[self.names[item] for item in best] for best in found], scores, status

    @torch.jit.export
    def scores(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Scores of all items, float (sessions, number of items), in the order of :meth:`item_ids`.

        A session with nothing known scores every item 0.

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
            ValueError: where raw ids are strings, or for a model without target attention.
            FloatingPointError: where a weight is not finite.
        """
        self._expect_strings(False, "explain")
        return self._explain(self.known(items), offsets, self.known(targets))

    @torch.jit.export
    def explain_indices(self, indices: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """As :meth:`explain`, of item indices, targets as well, where raw ids are strings."""
        self._expect_strings(True, "explain_indices")
        return self._explain(self.known(indices), offsets, self.known(targets))

    @torch.jit.export
    def set_candidates(self, ids: Optional[Tensor]) -> None:
        """Recommend these items only, raw ids int64 (any,), from now on; None for all again. Unknown ids do not matter.

        Not to be called while other threads call the model. Raises where raw ids are strings.
        """
        self._expect_strings(False, "set_candidates")
        self._set_candidates(ids)

    @torch.jit.export
    def set_candidates_indices(self, indices: Optional[Tensor]) -> None:
        """As :meth:`set_candidates`, of item indices, where raw ids are strings."""
        self._expect_strings(True, "set_candidates_indices")
        self._set_candidates(indices)

    def known(self, items: Tensor) -> Tensor:
        """Item indices of raw ids (of item indices, where ids are strings), 0 for unknown ones."""
        if items.dtype != torch.int64 or items.dim() != 1:
            raise ValueError("items, targets, ids: expected int64 vectors, got another dtype or shape")
        place = torch.searchsorted(self.sorted_ids, items).clamp(max=self.num_items - 1)
        return torch.where(self.sorted_ids[place] == items, self.sorted_items[place], 0)

    def best(
        self, indices: Tensor, offsets: Tensor, k: int, excluded: Optional[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`forward` says, of known items; without the rows of the table in `excluded`, one per click."""
        if k < 1:
            raise ValueError(f"k: expected 1 or more, got {k}")
        k = min(k, self.num_items)
        self._expect_offsets(offsets, indices.shape[0])
        encoded = self.model.encode(indices, offsets, None)
        candidates: Optional[Tensor] = None
        if not self.all_items:
            candidates = self.candidates
        scores, rows = ops.target_attention_topk(
            encoded,
            self._table(),
            k,
            candidates,
            excluded,
            offsets if excluded is not None else None,
        )
        if torch.jit.is_scripting():  # programs cannot look at values: whoever calls one does
            self._expect_finite((scores.isfinite() | (rows < 0)).all())
        known = torch.cat([offsets[:1], (indices != 0).cumsum(0)])[offsets].diff()  # offsets[0] is 0
        nothing_known = known == 0  # and nothing to exclude from the popular items then
        status = torch.where(nothing_known, 2, (known < offsets.diff()).long())
        popular = self.popular_candidates[:k]
        popular_clicks = self.clicks[popular]
        missing = k - popular.shape[0]
        if missing > 0:
            popular = torch.nn.functional.pad(popular, [0, missing], value=-1.0)
            popular_clicks = torch.nn.functional.pad(popular_clicks, [0, missing], value=-torch.inf)
        nothing_known = nothing_known.unsqueeze(1)
        scores = torch.where(nothing_known, popular_clicks, scores)
        return scores, self.raw_ids[torch.where(nothing_known, popular, rows)], status

    def _table(self) -> Tensor:
        # Not a buffer: torch.export cannot save two tensors on one memory.
        return self.rounded_table if self.bfloat16_table else self.model.item_embedding.weight[1:]

    def _expect_strings(self, strings: bool, method: str) -> None:
        if self.has_strings != strings:
            kinds = ["strings", "integers"] if strings else ["integers", "strings"]
            raise ValueError(f"{method}: expected a model whose item ids are {kinds[0]}, got one with {kinds[1]}")

    def _expect_finite(self, finite: Tensor) -> None:
        if not bool(finite):
            raise FloatingPointError(self.not_finite)

    def _expect_offsets(self, offsets: Tensor, clicks: int) -> None:
        if not torch.jit.is_scripting():
            return  # programs cannot look at values: whoever calls one does
        right = offsets.dtype == torch.int64 and offsets.dim() == 1 and offsets.shape[0] > 0
        if right:
            right = int(offsets[0]) == 0 and int(offsets[-1]) == clicks and bool((offsets.diff() >= 0).all())
        if not right:
            raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {clicks}, int64, got others")

    def _tensors(self, sessions: list[list[int]]) -> tuple[Tensor, Tensor]:
        flat: list[int] = []
        ends = [0]
        for session in sessions:
            flat.extend(session)
            ends.append(len(flat))
        return torch.tensor(flat, dtype=torch.int64), torch.tensor(ends)

    def _lists(self, answer: tuple[Tensor, Tensor, Tensor]) -> tuple[list[list[int]], list[list[float]], list[int]]:
        scores, ids, status = answer
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
        encoded = self.model.encode(indices, offsets, None)
        scores = ops.target_attention_scores(encoded, self._table())
        self._expect_finite(scores.isfinite().all())
        return scores

    def _explain(self, indices: Tensor, offsets: Tensor, target_items: Tensor) -> Tensor:
        if not self.target_attention:
            raise ValueError("explain: expected a model with target attention, got one without")
        self._expect_offsets(offsets, indices.shape[0])
        if target_items.shape[0] != offsets.shape[0] - 1:
            raise ValueError(f"targets: expected one per session, {offsets.shape[0] - 1}, got {target_items.shape[0]}")
        graph = self.model.graph(indices, offsets, None)
        encoded = self.model.encode(indices, offsets, None)
        slots, sessions = encoded.keys.shape[0], target_items.shape[0]
        owner = torch.searchsorted(encoded.slot_offsets, torch.arange(slots), right=True) - 1
        owner = owner.clamp(0, max(sessions - 1, 0))
        vectors = self._table().to(encoded.keys.dtype)[(target_items - 1).clamp(min=0)]  # (sessions, hidden)
        logits = (encoded.keys * vectors.index_select(0, owner)).sum(1)
        logits = logits.masked_fill(encoded.click_counts == 0, -torch.inf)
        floor = torch.where(encoded.padding > 0, 0.0, -torch.inf).to(logits.dtype)
        largest = floor.scatter_reduce(0, owner, logits, "amax")
        terms = (logits - largest.index_select(0, owner)).exp()
        total = torch.zeros_like(floor).index_add(0, owner, terms * encoded.click_counts)
        # Without padding, largest may be far below 0, where this would be 0 times infinity.
        total = total + torch.where(encoded.padding > 0, encoded.padding * (-largest).exp(), 0.0)
        weights = terms / total.index_select(0, owner)
        weights = weights * (target_items > 0).index_select(0, owner)
        clicked = graph.click_nodes >= 0
        weights = torch.where(clicked, weights[graph.click_nodes.clamp(min=0)], 0.0)
        self._expect_finite(weights.isfinite().all())
        return weights

    def _set_candidates(self, ids: Optional[Tensor]) -> None:
        self.all_items = ids is None
        self.popular_candidates = self.popular
        if ids is not None:
            found = self.known(ids)
            found = found[found > 0]
            self.candidates = found - 1
            self.popular_candidates = self.popular[torch.isin(self.popular, self.candidates)]
