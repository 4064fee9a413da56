"""What recommenders and exports ask of a network, with the items it ranks; a baseline answers the same itself."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.explanation import click_weights
from tagnn_fast.nn.ranking import RankedRows, best_rows
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops.graph import EncodedSessions


class NetworkRanker(nn.Module):
    """Ranks items with a network. TorchScript compiles it, and torch.export follows it.

    In all methods, `items` are the item indices of all clicks, int64 (clicks,), 0 for an unknown item, and session b's
    are ``items[offsets[b]:offsets[b + 1]]``; `encoded` is what :meth:`encode` made of them.

    Args:
        model: set to evaluation mode here.
        counts: clicks on each item in training, float64 (items,).
        popular: all items from 0, most clicked first, int64 (items,).
        bfloat16_table: score with item vectors rounded to bfloat16, of which it takes a copy.
    """

    counts: Tensor
    popular: Tensor
    rounded_table: Tensor

    def __init__(self, model: SessionModel, counts: Tensor, popular: Tensor, bfloat16_table: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.can_explain = model.can_explain
        self.bfloat16_table = bfloat16_table
        vectors = model.item_embedding.weight.detach()
        self.register_buffer("counts", counts)
        self.register_buffer("popular", popular)
        self.register_buffer("rounded_table", vectors[1:].bfloat16() if bfloat16_table else torch.empty(0).bfloat16())
        self.to(vectors.device)

    def table(self) -> Tensor:
        """Item vectors that sessions are scored with, float (items, hidden)."""
        # Not a buffer: torch.export cannot save two tensors on one memory.
        return self.rounded_table if self.bfloat16_table else self.model.item_embedding.weight[1:]

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """The sessions, as target attention takes them; for `padded_length` see :class:`SessionModel`."""
        return self.model.encode(items, offsets, padded_length)

    def best_rows(
        self,
        encoded: EncodedSessions,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        own: Optional[Tensor],
        excluded: Optional[Tensor],
    ) -> RankedRows:
        """See :func:`tagnn_fast.nn.ranking.best_rows`."""
        return best_rows(encoded, self.table(), self.counts, self.popular, items, offsets, k, candidates, own, excluded)

    def scores(self, encoded: EncodedSessions, items: Tensor, offsets: Tensor, rows: Optional[Tensor]) -> Tensor:
        """Scores of some items from 0, int64 (any,), or of all: float (sessions, any)."""
        table = self.table()
        return ops.target_attention_scores(encoded, table if rows is None else table[rows])

    def explain(self, encoded: EncodedSessions, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """What each click weighs, float (clicks,), for an item from 0 for each session, int64 (sessions,); -1: none."""
        graph = self.model.graph(items, offsets, None)
        return click_weights(encoded, graph.click_nodes, targets, self.table())
