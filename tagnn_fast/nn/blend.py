"""Ensembles and hybrids: several methods that rank together, each giving every item a share."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.ranking import RankedRows, known_clicks, left_out_rows, popular_where_unknown

_CELLS = 1 << 20  # shares that are worked on at once


class BlendedShares(NamedTuple):
    """What each session's items get of 1: the weighted sum of the members' shares, float64 (sessions, items)."""

    shares: Tensor


class _NetworkShares(nn.Module):
    """Softmax of a network's scores over the catalogue."""

    def __init__(self, ranker: NetworkRanker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, items: Tensor, offsets: Tensor, padded_length: Optional[int]) -> Tensor:
        encoded = self.ranker.encode(items, offsets, padded_length)
        return self.ranker.scores(encoded, items, offsets, None).double().softmax(1)


class _CountedShares(nn.Module):
    """What a counting method gives each item, never below 0, by the sum of that; zeros where it knows of none."""

    def __init__(self, baseline: nn.Module) -> None:
        super().__init__()
        self.baseline = baseline

    def forward(self, items: Tensor, offsets: Tensor, padded_length: Optional[int]) -> Tensor:
        scores: Tensor = self.baseline(items, offsets)
        total = scores.sum(1, keepdim=True)
        return scores / torch.where(total > 0, total, 1.0)


class BlendRanker(nn.Module):
    """Ranks items by Σ_m weight_m · share_m, on the CPU; for recommenders and exports what a NetworkRanker is.

    The share of an item is its softmax over the catalogue in a network, and its part of the sum of all scores in a
    method that counts. Equal sums stand by popularity and then by index, as in baselines. Members that weigh nothing
    are left out. `items` and `offsets` are as in :class:`NetworkRanker`.

    Args:
        config: size of the catalogue.
        members: networks, and baselines, whose scores are never below 0.
        weights: of each, 0 and more.
        counts: clicks on each item in training, float64 (items,).
        popular: all items from 0, most clicked first, equal ones by index, int64 (items,).
    """

    can_explain = False
    counts: Tensor
    popular: Tensor
    __constants__ = ["can_explain"]  # noqa: RUF012 (as TorchScript wants it)

    def __init__(
        self,
        config: ModelConfig,
        members: Sequence[nn.Module],
        weights: Sequence[float],
        counts: Tensor,
        popular: Tensor,
    ) -> None:
        super().__init__()
        self.config = config
        self.num_items = config.num_items
        self.at_once = max(1, _CELLS // config.num_items)  # sessions
        weighed = [(member, weight) for member, weight in zip(members, weights, strict=True) if weight > 0]
        self.weights = [weight for _, weight in weighed]
        self.members = nn.ModuleList(
            _NetworkShares(member) if isinstance(member, NetworkRanker) else _CountedShares(member)
            for member, _ in weighed
        )
        self.register_buffer("counts", counts)
        self.register_buffer("popular", popular)

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> BlendedShares:
        """The shares of all items; zeros for a session without a known click."""
        if _is_traced():
            return BlendedShares(self._shares(items, offsets, padded_length))
        sessions = offsets.shape[0] - 1
        shares = torch.empty(sessions, self.num_items, dtype=torch.float64)
        for begin in range(0, sessions, self.at_once):
            ends = offsets[begin : begin + self.at_once + 1]
            clicks = items[int(ends[0]) : int(ends[-1])]
            shares[begin : begin + self.at_once] = self._shares(clicks, ends - ends[0], padded_length)
        return BlendedShares(shares)

    def _shares(self, items: Tensor, offsets: Tensor, padded_length: Optional[int]) -> Tensor:
        total = torch.zeros(offsets.shape[0] - 1, self.num_items, dtype=torch.float64)
        for number, member in enumerate(self.members):
            total = total + self.weights[number] * member(items, offsets, padded_length)
        return torch.where((known_clicks(items, offsets) > 0).unsqueeze(1), total, 0.0)

    def best_rows(
        self,
        encoded: BlendedShares,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        own: Optional[Tensor],
        excluded: Optional[Tensor],
    ) -> RankedRows:
        """See :func:`tagnn_fast.nn.ranking.best_rows`."""
        shares = encoded.shares
        left_out, ends = left_out_rows(offsets, own, excluded)
        # One that is not a number stands first, so that none can hide behind the best k.
        shares = torch.where(shares.isnan(), torch.inf, shares)
        width = self.num_items + 1  # with a column for rows outside the table
        if candidates is not None:
            chosen = torch.zeros(width, dtype=torch.bool).index_fill(0, self._in_the_table(candidates), True)
            shares = shares.masked_fill(~chosen[:-1], -torch.inf)
        if left_out is not None and ends is not None:
            place = torch.ones_like(left_out).cumsum(0) - 1  # not of a size: that is a sum, which programs cannot store
            session = torch.searchsorted(ends, place, right=True) - 1
            cells = session * width + self._in_the_table(left_out)
            # And with a row for clicks behind the last session.
            marked = torch.zeros(ends.shape[0] * width, dtype=torch.bool).index_fill(0, cells, True).view(-1, width)
            shares = shares.masked_fill(marked[:-1, :-1], -torch.inf)
        scores, rows = self._best(shares, k)
        return popular_where_unknown(scores, rows, self.counts, self.popular, items, offsets, k, candidates, excluded)

    def _in_the_table(self, rows: Tensor) -> Tensor:
        return torch.where((rows >= 0) & (rows < self.num_items), rows, self.num_items)

    def _best(self, shares: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if _is_traced():
            return best_by_popularity(shares, self.popular, k)
        scores: list[Tensor] = []
        rows: list[Tensor] = []
        for part in shares.split(self.at_once):
            best = best_by_popularity(part, self.popular, k)
            scores.append(best[0])
            rows.append(best[1])
        return torch.cat(scores), torch.cat(rows)

    def scores(self, encoded: BlendedShares, items: Tensor, offsets: Tensor, rows: Optional[Tensor]) -> Tensor:
        """Shares of some items from 0, int64 (any,), or of all: float64 (sessions, any)."""
        return encoded.shares if rows is None else encoded.shares[:, rows]

    def explain(self, encoded: BlendedShares, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """A blend cannot explain."""
        raise NotImplementedError


def best_by_popularity(scores: Tensor, popular: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and items from 0 of the best k of each session, equal scores in the order of popularity: (sessions, k).

    Args:
        scores: of all items, none of them NaN, (sessions, items); -inf for those to leave out.
        popular: all items from 0, most clicked first, int64 (items,).
        k: length of the lists; where fewer are left, the rest are -inf and -1.
    """
    items = popular.shape[0]
    length = min(k, items)
    scores = scores[:, popular]
    least = scores.topk(length, dim=1).values[:, -1:]
    # topk promises no order among equal ones, so it is asked for whole numbers, no two of which are equal.
    place = torch.arange(items)
    keys = torch.where(scores > least, 2 * items - place, torch.where(scores == least, items - place, 0))
    chosen = keys.topk(length, dim=1).indices
    best, order = torch.sort(scores.gather(1, chosen), dim=1, descending=True, stable=True)
    rows = torch.where(best == -torch.inf, -1, popular[chosen.gather(1, order)])
    missing = k - length
    return nn.functional.pad(best, (0, missing), value=-torch.inf), nn.functional.pad(rows, (0, missing), value=-1.0)


def _is_traced() -> bool:
    """Whether this becomes a program that knows no number of sessions yet, and has no loops over them."""
    if not torch.jit.is_scripting():
        return torch.compiler.is_compiling()
    return False
