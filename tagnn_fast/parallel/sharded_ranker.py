"""Answers of a network whose item table lies in shards: one process asks, all of them answer."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tagnn_fast.nn.ranking import RankedRows, left_out_rows, popular_where_unknown
from tagnn_fast.parallel import sharded_ops
from tagnn_fast.parallel.collectives import gather_parts, largest
from tagnn_fast.parallel.processes import Processes, connected
from tagnn_fast.parallel.sharded_model import ShardedModel

_NONE = -1  # in the place of a length, of what is not given


class Sessions(NamedTuple):
    """Sessions as they are asked for; see :class:`~tagnn_fast.nn.ranker.NetworkRanker`."""

    items: Tensor
    offsets: Tensor
    padded_length: int | None


class ShardedLists(nn.Module):
    """Lists of a network with rows of its item table in each process of a group.

    The first process asks; all others are in :meth:`answer` until it calls :meth:`end`. Each encodes a share of the
    sessions and goes through its own items with all of them.

    Args:
        model: set to evaluation mode here; its weights are to stay as they are.
    """

    def __init__(self, model: ShardedModel) -> None:
        super().__init__()
        self.model = model.eval()
        with torch.no_grad():
            self.table = model.item_vectors()  # (items here, hidden)

    def answer(self) -> None:
        """Answer what the first process asks, until it asks no more; on the others."""
        question = torch.zeros(8, dtype=torch.int64)
        while bool(self._told(question)[0]):
            _, k, padded_length, *lengths = question.tolist()
            values = self._told(torch.empty(sum(max(length, 0) for length in lengths), dtype=torch.int64))
            parts = values.to(self.table.device).split([max(length, 0) for length in lengths])
            given = [None if length == _NONE else part for length, part in zip(lengths, parts, strict=True)]
            offsets, items, *others = given
            assert offsets is not None
            assert items is not None
            self.lists(k, None if padded_length == _NONE else padded_length, offsets, items, *others)

    def end(self) -> None:
        """Let the others go; on the first process."""
        self._told(torch.zeros(8, dtype=torch.int64))

    def _told(self, numbers: Tensor) -> Tensor:
        """What the first process has in this place, int64 on the CPU; the same tensor."""
        dist.broadcast(numbers, group=self.model.shard.group, group_src=0)
        return numbers

    @torch.no_grad()
    def lists(
        self,
        k: int,
        padded_length: int | None,
        offsets: Tensor,
        items: Tensor,
        candidates: Tensor | None = None,
        own: Tensor | None = None,
        excluded: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, float, and rows, int64, (sessions, k), of all sessions, and whether they are finite.

        All processes call it with the same; see :func:`tagnn_fast.nn.ranking.best_rows` for what.
        """
        shard, device = self.model.shard, self.table.device
        shares = torch.arange(offsets.shape[0] - 1).tensor_split(shard.processes)
        sizes = [share.shape[0] for share in shares]
        first = sum(sizes[: shard.rank])
        ends = offsets[first : first + sizes[shard.rank] + 1]
        clicks = slice(int(ends[0]), int(ends[-1]))
        ends = ends - ends[0]
        encoded = self.model.model.encode(items[clicks], ends, padded_length)
        left_out = left_out_rows(ends, None if own is None else own[clicks], excluded)
        scores, rows = sharded_ops.topk(encoded, self.table, k, shard, candidates, *left_out)
        finite = (scores.isfinite() | (rows < 0)).all() & encoded.session.isfinite().all()
        (wrong,) = largest([0 if bool(finite) else 1], device, shard.group)
        gathered = (
            gather_parts([value], [max(sizes)], shard.group)[0].tensor_split(shard.processes)
            for value in (scores, rows)
        )
        scores, rows = (torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]) for parts in gathered)
        return scores, rows, torch.tensor(wrong == 0, device=device)


class ShardedRanker(ShardedLists):
    """Ranks items as :class:`~tagnn_fast.nn.ranker.NetworkRanker` does, on the first process.

    The lists of all processes are merged, equal scores by row: they are those of the whole network, to the bit if the
    same sessions are encoded alike.

    Args:
        model: see the base class.
        counts: clicks on each item in training, float64 (items,).
        popular: all items from 0, most clicked first, int64 (items,).
    """

    can_explain = False  # the attention for a target is where its vector is

    def __init__(self, model: ShardedModel, counts: Tensor, popular: Tensor) -> None:
        super().__init__(model)
        self.config = model.model.config
        self._processes = Processes(0, model.shard.processes, 0, True)
        self._asking = Lock()  # a thread's question is answered before another's is asked
        self.counts, self.popular = counts.to(self.table.device), popular.to(self.table.device)

    def encode(self, items: Tensor, offsets: Tensor, padded_length: int | None = None) -> Sessions:
        """The sessions as they are: which process encodes them is seen when something is asked of them."""
        return Sessions(items, offsets, padded_length)

    def best_rows(
        self,
        encoded: Sessions,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Tensor | None,
        own: Tensor | None,
        excluded: Tensor | None,
    ) -> RankedRows:
        """See :func:`tagnn_fast.nn.ranking.best_rows`; on the first process."""
        given = [offsets, items, candidates, own, excluded]
        lengths = [_NONE if value is None else value.shape[0] for value in given]
        padded_length = encoded.padded_length
        with self._asking, connected(self._processes):
            self._told(torch.tensor([1, k, _NONE if padded_length is None else padded_length, *lengths]))
            self._told(torch.cat([value.cpu() for value in given if value is not None]))
            lists = self.lists(k, padded_length, offsets, items, candidates, own, excluded)
        best = popular_where_unknown(*lists[:2], self.counts, self.popular, items, offsets, k, candidates, excluded)
        return RankedRows(best.rows, best.scores, best.known_clicks, best.finite & lists[2])
