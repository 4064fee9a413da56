"""What recommenders and exports ask of a network, with the items it ranks; a baseline answers the same itself."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.explanation import click_weights
from tagnn_fast.nn.ranking import RankedRows, best_rows
from tagnn_fast.nn.repeats import scores_with_repeats, some_scores_with_repeats
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops.graph import EncodedSessions


class _Snapshot:
    """Which tensor it was, and how often written to. Holds its memory, so that no other can take the same place."""

    def __init__(self, table: Tensor) -> None:
        self._table, self._version = table.detach(), table._version

    def is_of(self, table: Tensor) -> bool:
        return table.data_ptr() == self._table.data_ptr() and self._table._version == self._version


class NetworkRanker(nn.Module):
    """Ranks items with a network. TorchScript compiles it, and torch.export follows it.

    In all methods, `items` are the item indices of all clicks, int64 (clicks,), 0 for an unknown item, and session b's
    are ``items[offsets[b]:offsets[b + 1]]``; `encoded` is what :meth:`encode` made of them.

    Args:
        model: set to evaluation mode here; where its item vectors are not its weights, they are made once, for a copy.
        counts: clicks on each item in training, float64 (items,).
        popular: all items from 0, most clicked first, int64 (items,).
        bfloat16_table: score with item vectors rounded to bfloat16, of which it takes a copy.
        screen: keep a screen of the item vectors, where one helps: see :func:`tagnn_fast.ops.item_screen`. It is of the
            vectors as they are now; whoever asks for one sees to it that they stay so. Changes that PyTorch counts are
            noticed, and then it is left alone; but writes through ``.data``, from other processes, and fused
            optimisers' leave no count behind.
    """

    counts: Tensor
    popular: Tensor
    rounded_table: Tensor
    screen: Tensor

    def __init__(
        self,
        model: SessionModel,
        counts: Tensor,
        popular: Tensor,
        bfloat16_table: bool = False,
        screen: bool = False,
    ) -> None:
        super().__init__()
        self.model: SessionModel = model.eval().settled()
        self.can_explain = model.can_explain
        self.bfloat16_table = bfloat16_table
        vectors = self.model.item_embedding.weight.detach()
        self.register_buffer("counts", counts)
        self.register_buffer("popular", popular)
        self.register_buffer("rounded_table", vectors[1:].bfloat16() if bfloat16_table else torch.empty(0).bfloat16())
        self.register_buffer("screen", torch.empty(0, dtype=torch.uint8))
        self.to(vectors.device)
        self.is_screened = screen and vectors.dtype == torch.float32 and ops.screen_helps(self.table())
        self.refresh_screen()

    @torch.jit.ignore
    def refresh_screen(self) -> None:
        """Make the screen anew, if there is one: for item vectors that have changed since."""
        if self.is_screened:
            self.screen = ops.item_screen(self.table())
            self._snapshot = _Snapshot(self.table())

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
        return best_rows(
            encoded,
            self.table(),
            self.counts,
            self.popular,
            items,
            offsets,
            k,
            candidates,
            own,
            excluded,
            self._trusted_screen(),
            self.model.repeats_of(items, offsets),
        )

    def _trusted_screen(self) -> Optional[Tensor]:
        """The screen, unless item vectors are seen to have changed; those of a program do not."""
        if not self.is_screened or (not torch.jit.is_scripting() and self._has_changed()):
            return None
        return self.screen

    @torch.jit.unused
    def _has_changed(self) -> bool:
        return not torch.compiler.is_compiling() and not self._snapshot.is_of(self.table())

    def scores(self, encoded: EncodedSessions, items: Tensor, offsets: Tensor, rows: Optional[Tensor]) -> Tensor:
        """Scores of some items from 0, int64 (any,), or of all: float (sessions, any)."""
        table, repeats = self.table(), self.model.repeats_of(items, offsets)
        scores = ops.target_attention_scores(encoded, table if rows is None else table[rows])
        if repeats is None:
            return scores
        return scores_with_repeats(scores, repeats) if rows is None else some_scores_with_repeats(scores, rows, repeats)

    def explain(self, encoded: EncodedSessions, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """What each click weighs, float (clicks,), for an item from 0 for each session, int64 (sessions,); -1: none."""
        graph = self.model.graph(items, offsets, None)
        return click_weights(encoded, graph.click_nodes, targets, self.table())
