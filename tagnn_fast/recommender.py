"""Top-k for any session: the model's for what it knows, the most popular items where it knows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.checks import check_integer_vector, check_k
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.recommender import SessionRecommender


class Recommendations(NamedTuple):
    """Best items of each session.

    Attributes:
        items: item indices, best first, equal scores by index, int64 (sessions, k).
        scores: the model's scores, float (sessions, k); for a popular item its clicks in training.
        known_clicks: clicks of each session on items with a row, int64 (sessions,). Where there are none, the session
            gets the most popular items.
    """

    items: Tensor
    scores: Tensor
    known_clicks: Tensor


class Recommender:
    """A trained model and its items; the most popular of them for sessions of which it knows no click.

    Args:
        model: set to evaluation mode here.
        vocabulary: its items.
        bfloat16_table: score with item vectors rounded to bfloat16: half the memory to read for each answer, which is
            what a single session's time goes into. Takes a copy of the vectors.
    """

    def __init__(self, model: SessionRecommender, vocabulary: Vocabulary, bfloat16_table: bool = False) -> None:
        if model.config.num_items != len(vocabulary):
            raise ValueError(f"vocabulary: expected {model.config.num_items} items, got {len(vocabulary)}")
        self.model = model.eval()
        self.vocabulary = vocabulary
        self._rounded_table = model.item_embedding.weight[1:].detach().bfloat16() if bfloat16_table else None
        self._popular = torch.from_numpy(vocabulary.by_popularity())
        self._clicks = torch.from_numpy(vocabulary.counts)[self._popular - 1]

    @torch.no_grad()
    def topk(self, items: Tensor, offsets: Tensor, k: int, padded_length: int | None = None) -> Recommendations:
        """The best k items of each session.

        Args:
            items: item indices of all clicks, int64 (clicks,); 0, an item without a row, is skipped.
            offsets: first click of each session and the end of the last, int64 (sessions + 1,).
            k: length of the lists.
            padded_length: see :class:`SessionRecommender`.

        Raises:
            TypeError: on a wrong type or dtype.
            ValueError: on a k outside 1..number of items, items outside 0..number of items, or offsets that do not
                rise from 0 to the number of clicks.
            FloatingPointError: where a score is NaN, or one of the best k infinite.
        """
        check_k(k, len(self.vocabulary))
        self._check(items, offsets)
        device = self.model.item_embedding.weight.device
        items, offsets = items.to(device), offsets.to(device)
        encoded = self.model.encode(items, offsets, padded_length)
        table = self.model.item_embedding.weight[1:] if self._rounded_table is None else self._rounded_table
        scores, rows = ops.target_attention_topk(*encoded, table, k)
        # A score that is not a number sorts first, so that none can hide behind the best k.
        if not bool(torch.isfinite(scores).all() & torch.isfinite(encoded.session).all()):
            raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
        before = torch.cat([offsets.new_zeros(1), (items != 0).cumsum(0)])
        known = before[offsets].diff()
        nothing_known = (known == 0).unsqueeze(1)
        return Recommendations(
            torch.where(nothing_known, self._popular[:k].to(device), rows + 1),
            torch.where(nothing_known, self._clicks[:k].to(device, scores.dtype), scores),
            known,
        )

    def _check(self, items: Tensor, offsets: Tensor) -> None:
        check_integer_vector(items, "items")
        check_integer_vector(offsets, "offsets")
        if items.numel():
            low, high = (int(bound) for bound in items.aminmax())
            if low < 0 or high > len(self.vocabulary):
                found = low if low < 0 else high
                raise ValueError(f"items: expected indices in 0..{len(self.vocabulary)}, got {found}")
        rises = offsets.numel() > 0 and int(offsets[0]) == 0 and int(offsets[-1]) == items.numel()
        if not rises or bool((offsets.diff() < 0).any()):
            raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {items.numel()}, got others")

    def recommend(self, sessions: Sequence[Sequence[object]] | pa.ListArray, k: int = 20) -> pa.Table:
        """The best k items of each session, in raw ids.

        Args:
            sessions: raw item ids of each session, oldest click first. Unknown ones are skipped.
            k: length of the lists.

        Returns:
            A row per recommendation: ``session`` (its number, int64), ``rank`` (from 1, int32), ``item`` (raw id),
            ``score`` (the model's, or clicks in training, float64), ``answer`` ("model", or "popularity" for sessions
            without a known item), ``skipped`` (unknown clicks of the session, int64).

        Raises:
            ValueError: on a k outside 1..number of items, or ids of another type than the data set's.
        """
        if isinstance(sessions, pa.ListArray):
            offsets = sessions.offsets.to_numpy().astype(np.int64)
            raw_ids = sessions.values[offsets[0] : offsets[-1]]
        else:
            offsets = np.fromiter(accumulate(map(len, sessions), initial=0), np.int64, len(sessions) + 1)
            raw_ids = chain.from_iterable(sessions)
        items = torch.from_numpy(self.vocabulary.encode(raw_ids)).long()
        bounds = torch.from_numpy(offsets - offsets[0])
        best, scores, known = (value.cpu() for value in self.topk(items, bounds, k))
        sessions_count = len(offsets) - 1
        answers = np.where(known.numpy() > 0, "model", "popularity").repeat(k)
        return pa.table(
            {
                "session": np.arange(sessions_count).repeat(k),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), sessions_count),
                "item": self.vocabulary.decode(best.flatten().numpy()),
                "score": scores.double().flatten().numpy(),
                "answer": pa.array(answers.astype(object), pa.string()),
                "skipped": (bounds.diff() - known).numpy().repeat(k),
            }
        )
