"""What all baselines share: they count instead of being trained, and rank as a network does."""

from collections.abc import Mapping
from typing import ClassVar, Optional

import torch
from torch import Tensor, nn

from tagnn_fast.data.sessions import Sessions
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.ranking import RankedRows, left_out_rows, popular_where_unknown
from tagnn_fast.nn.search_space import SearchSpace


class Baseline(nn.Module):
    """A method that learns from training sessions at once, without gradients, and runs on the CPU.

    Every item has a score: what the method gives it, or 0. Equal scores stand by popularity, the clicks in training,
    and then by index, so that what a method knows nothing of follows in the order of popularity. Unknown clicks are as
    if they were not there.

    A subclass takes its options by keyword, registers what it learns as buffers, fills them in :meth:`learn` and ranks
    in :meth:`ranked`, which TorchScript compiles.

    Attributes:
        config: sizes, and the method's options.
        counts: clicks on each item in training, float64 (items,).
        popular: all items from 0, most clicked first, equal ones by index, int64 (items,).
        popularity_rank: the place of each item there, int32 (items,).
        search_space: the values of its options that tuning tries.
    """

    can_explain = False
    search_space: ClassVar[SearchSpace] = {}
    counts: Tensor
    popular: Tensor
    popularity_rank: Tensor
    __constants__ = ["can_explain"]  # noqa: RUF012 (as TorchScript wants it)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.num_items = config.num_items
        self.register_buffer("counts", torch.zeros(config.num_items, dtype=torch.float64))
        self.register_buffer("popular", torch.arange(config.num_items))
        self.register_buffer("popularity_rank", torch.arange(config.num_items, dtype=torch.int32))

    def fit(self, sessions: Sessions) -> None:
        """Learn from training sessions, the most recent last; clicks and sessions without a known item do not count.

        Raises:
            ValueError: where there are none, or on an item that the catalogue has not.
            MemoryError: where the method needs more memory than there is.
        """
        sessions = _known(sessions)
        if len(sessions) == 0:
            raise ValueError("sessions: expected at least one with a known item, got none")
        clicks = sessions.clicks.long() - 1
        if int(clicks.max()) >= self.num_items:
            raise ValueError(f"sessions: expected items of 0..{self.num_items}, got {int(clicks.max()) + 1}")
        self.counts = torch.bincount(clicks, minlength=self.num_items).double()
        self.popular = self.counts.argsort(descending=True, stable=True)
        self.popularity_rank = torch.empty(self.num_items, dtype=torch.int32)
        self.popularity_rank[self.popular] = torch.arange(self.num_items, dtype=torch.int32)
        self.learn(sessions)

    def learn(self, sessions: Sessions) -> None:
        """Fill the buffers that are the method's own."""
        raise NotImplementedError

    def load(self, learnt: Mapping[str, Tensor]) -> None:
        """Take over what another of the same options has learnt, its ``state_dict()``.

        Raises:
            ValueError: where names, dtypes or dimensions are others.
        """
        own = self.state_dict()
        for name in sorted(own.keys() | learnt.keys()):
            wanted, found = (_describe(group.get(name)) for group in (own, learnt))
            if found != wanted:
                raise ValueError(f"expected {name} of {wanted}, got {found}: it belongs to another configuration")
        for name, value in learnt.items():
            self.register_buffer(name, value)
        for name in ("counts", "popular", "popularity_rank"):
            if learnt[name].shape[0] != self.num_items:
                raise ValueError(f"expected {name} of {self.num_items} items, got {learnt[name].shape[0]}")

    def ranked(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        excluded: Optional[Tensor],
        excluded_offsets: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Scores, float64, and items from 0, int64, of the best k of each session: (sessions, k).

        Args:
            items: item indices of all clicks, int64 (clicks,): 1..num_items, or 0 for a click to skip.
            offsets: first click of each session and the end of the last, int64 (sessions + 1,).
            k: length of the lists.
            candidates: see :func:`tagnn_fast.ops.target_attention_topk` for this and the others.
            excluded: the same.
            excluded_offsets: the same.
        """
        raise NotImplementedError

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> tuple[()]:
        """Nothing: a baseline takes sessions as they are. This and what follows is as in NetworkRanker."""
        return ()

    def best_rows(
        self,
        encoded: tuple[()],
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        own: Optional[Tensor],
        excluded: Optional[Tensor],
    ) -> RankedRows:
        """As :func:`tagnn_fast.nn.ranking.best_rows`, whose arguments these are."""
        left_out, ends = left_out_rows(offsets, own, excluded)
        scores, rows = self.ranked(items, offsets, k, candidates, left_out, ends)
        return popular_where_unknown(scores, rows, self.counts, self.popular, items, offsets, k, candidates, excluded)

    def scores(self, encoded: tuple[()], items: Tensor, offsets: Tensor, rows: Optional[Tensor]) -> Tensor:
        """Scores of some items from 0, int64 (any,), or of all: float64 (sessions, any)."""
        scores, ranked = self.ranked(items, offsets, self.num_items, rows, None, None)
        found = torch.where(ranked < 0, 0.0, scores)  # what is not among the rows
        every = torch.zeros_like(scores).scatter_add(1, ranked.clamp(min=0), found)
        return every if rows is None else every[:, rows]

    def explain(self, encoded: tuple[()], items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """A baseline cannot explain."""
        raise NotImplementedError

    def forward(self, items: Tensor, offsets: Tensor) -> Tensor:
        """Scores of all items, float64 (sessions, num_items); column j is item j + 1."""
        return self.scores((), items, offsets, None)


def _known(sessions: Sessions) -> Sessions:
    """The sessions without clicks on unknown items, those of unknown items alone left out."""
    known = sessions.clicks > 0
    if bool(known.all()):
        return sessions
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), known.long().cumsum(0)])[sessions.offsets]
    lengths = bounds.diff()
    left = lengths > 0
    times = None if sessions.times is None else sessions.times[left]
    return Sessions.whole(sessions.clicks[known], torch.cat([bounds[:1], lengths[left].cumsum(0)]), times)


def _describe(value: Tensor | None) -> str:
    return "nothing of this name" if value is None else f"{value.dtype} with {value.dim()} dimensions"
