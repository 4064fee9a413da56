"""Baselines that score by rows of an item-item matrix: popularity, rules and nearest items."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, Optional

import torch
from torch import Tensor

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.checks import check_count, check_number
from tagnn_fast.data.sessions import Sessions, offsets_of
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.search_space import Real, SearchSpace, Whole
from tagnn_fast.ops import item_item_topk


class ItemItem(Baseline):
    """Score of an item: the sum of what the rows of a session's items hold for it, each times its click's weight.

    Attributes:
        row_offsets: first entry of each item's row and the end of the last, int64 (items + 1,).
        columns: items of the entries, from 0, int32 (entries,).
        values: float32 (entries,).
    """

    row_offsets: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.register_buffer("row_offsets", torch.zeros(config.num_items + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.empty(0, dtype=torch.int32))
        self.register_buffer("values", torch.empty(0))

    def click_weights(self, items: Tensor, offsets: Tensor) -> Tensor:
        """What each click's row weighs, float64 (clicks,)."""
        raise NotImplementedError

    def ranked(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        excluded: Optional[Tensor],
        excluded_offsets: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """See the base class."""
        return item_item_topk(
            items,
            offsets,
            self.click_weights(items, offsets),
            self.row_offsets,
            self.columns,
            self.values,
            self.popular,
            self.popularity_rank,
            k,
            candidates,
            excluded,
            excluded_offsets,
        )

    def keep_best(self, keys: Tensor, weights: Tensor, most: int) -> None:
        """Make these the matrix, of each row the highest `most` alone, equal ones by popularity.

        Args:
            keys: row · items + column, int64 (entries,), each once.
            weights: their values, float64 (entries,); those that are not above 0 are left out.
            most: entries of a row.
        """
        weights = weights.float()  # as they are kept: what is equal there stands by popularity
        keys, weights = keys[weights > 0], weights[weights > 0]
        order = self.popularity_rank[keys % self.num_items].argsort(stable=True)
        order = order[weights[order].argsort(descending=True, stable=True)]
        order = order[(keys[order] // self.num_items).argsort(stable=True)]
        row = keys[order] // self.num_items
        rank = torch.arange(row.numel()) - offsets_of(torch.bincount(row, minlength=self.num_items))[row]
        order, row = order[rank < most], row[rank < most]
        self.row_offsets = offsets_of(torch.bincount(row, minlength=self.num_items))
        self.columns = (keys[order] % self.num_items).int()
        self.values = weights[order]


def from_the_end(items: Tensor, offsets: Tensor) -> Tensor:
    """How many known clicks of its session follow each click, int64 (clicks,)."""
    known = (items != 0).long().cumsum(0)
    if items.numel() == 0:
        return known
    session = torch.searchsorted(offsets, torch.arange(items.shape[0]), right=True)
    ends = offsets[session.clamp(max=offsets.shape[0] - 1)]  # clicks behind the last session belong to none
    return known[(ends - 1).clamp(min=0)] - known


class Popularity(Baseline):
    """The items with most training clicks, for every session the same; they score by their clicks."""

    def learn(self, sessions: Sessions) -> None:
        """See the base class: there is nothing to learn but the clicks."""

    def ranked(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        excluded: Optional[Tensor],
        excluded_offsets: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """See the base class."""
        no_scores, rows = item_item_topk(  # of an empty matrix: the order of popularity
            items,
            offsets,
            torch.zeros(items.shape[0], dtype=torch.float64),
            torch.zeros(self.num_items + 1, dtype=torch.int64),
            torch.empty(0, dtype=torch.int32),
            torch.empty(0),
            self.popular,
            self.popularity_rank,
            k,
            candidates,
            excluded,
            excluded_offsets,
        )
        return torch.where(rows < 0, no_scores, self.counts[rows.clamp(min=0)]), rows


class SessionPopularity(ItemItem):
    """The session's own items by how often it has clicked on them (S-POP of Hidasi et al., ICLR 2016)."""

    def learn(self, sessions: Sessions) -> None:
        """See the base class."""
        self.keep_best(
            torch.arange(self.num_items) * (self.num_items + 1), torch.ones(self.num_items, dtype=torch.float64), 1
        )

    def click_weights(self, items: Tensor, offsets: Tensor) -> Tensor:
        """See the base class."""
        return torch.ones(items.shape[0], dtype=torch.float64)


class _LastClick(ItemItem):
    """Scores by the row of the last known click alone."""

    def click_weights(self, items: Tensor, offsets: Tensor) -> Tensor:
        """See the base class."""
        return ((items != 0) & (from_the_end(items, offsets) == 0)).double()


class SequentialRules(_LastClick):
    """Items by how often, and how closely, they follow the last click in training sessions.

    A click that comes d ≤ `distance` clicks later counts 1 / d (SR of Ludewig & Jannach, "Evaluation of session-based
    recommendation algorithms", 2018, section 3.1).

    Args:
        config: sizes.
        distance: how far apart two clicks may be.
        rules: kept of each item, best first.
    """

    search_space: ClassVar[SearchSpace] = {"distance": Whole(1, 50, log=True)}

    def __init__(self, config: ModelConfig, *, distance: int = 10, rules: int = 100) -> None:
        super().__init__(config)
        self.distance, self.rules = check_count(distance, "distance"), check_count(rules, "rules")

    def learn(self, sessions: Sessions) -> None:
        """See the base class."""
        weights = torch.ones(len(sessions), dtype=torch.float64)
        rules = later_clicks(sessions, self.num_items, weights, lambda d: 1 / d if d <= self.distance else 0.0)
        self.keep_best(*rules, self.rules)


class AssociationRules(_LastClick):
    """Other items by how often they stand in one training session with the last click's, each pair of clicks counted.

    AR of Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", 2018, section 3.1.

    Args:
        config: sizes.
        rules: kept of each item, best first.
    """

    def __init__(self, config: ModelConfig, *, rules: int = 100) -> None:
        super().__init__(config)
        self.rules = check_count(rules, "rules")

    def learn(self, sessions: Sessions) -> None:
        """See the base class."""
        self.keep_best(*pairs_of_clicks(sessions, self.num_items), self.rules)


class ItemKNN(_LastClick):
    """Items by how similar the sets of their training sessions are to that of the last click's.

    sim(i, j) = sessions with both / ((s_i + r)^a · (s_j + r)^(1 - a)), where s_i is the number of sessions with i
    (item-KNN of Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016, as in their
    code).

    Args:
        config: sizes.
        neighbours: kept of each item, best first.
        regularization: r: sessions that are added, so that rare items are not similar by chance.
        balance: a in 0..1, how much the last click's own popularity counts; 0.5 is the cosine.
    """

    search_space: ClassVar[SearchSpace] = {"regularization": Real(1, 500, log=True), "balance": Real(0, 1)}

    def __init__(
        self, config: ModelConfig, *, neighbours: int = 100, regularization: float = 20.0, balance: float = 0.5
    ) -> None:
        super().__init__(config)
        self.neighbours = check_count(neighbours, "neighbours")
        self.regularization = check_number(regularization, "regularization", 0)
        self.balance = check_number(balance, "balance", 0, 1)

    def learn(self, sessions: Sessions) -> None:
        """See the base class."""
        distinct = distinct_items(sessions, self.num_items)
        support = torch.bincount(distinct.clicks - 1, minlength=self.num_items).double() + self.regularization
        keys, together = pairs_of_clicks(distinct, self.num_items)
        first, second = keys // self.num_items, keys % self.num_items
        norm = support[first] ** self.balance * support[second] ** (1 - self.balance)
        self.keep_best(keys, together / norm, self.neighbours)


PAIRS = 1 << 24  # that are added up at once


def distinct_items(sessions: Sessions, items: int) -> Sessions:
    """The sessions, of known items alone, with each of their items once, in the order of items."""
    session = torch.arange(len(sessions)).repeat_interleave(sessions.offsets.diff())
    once = torch.unique(session * items + sessions.clicks.long() - 1)
    lengths = torch.bincount(once // items, minlength=len(sessions))
    return Sessions.whole((once % items).int() + 1, offsets_of(lengths))


def later_clicks(
    sessions: Sessions, items: int, weights: Tensor, of_distance: Callable[[int], float]
) -> tuple[Tensor, Tensor]:
    """Pairs of a click and a later one of its session, added up.

    Args:
        sessions: of known items alone.
        items: size of the catalogue.
        weights: of each session's pairs, float64 (sessions,).
        of_distance: what a pair counts by how many clicks lie between, 1 for neighbours; 0 ends it.

    Returns:
        As :func:`pairs_of_clicks`.
    """
    clicks = sessions.clicks.long() - 1
    session = torch.arange(len(sessions)).repeat_interleave(sessions.offsets.diff())
    parts, held = [(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))], 0
    first = torch.arange(clicks.shape[0])
    for distance in range(1, int(sessions.offsets.diff().max())):
        weight = of_distance(distance)
        if weight == 0:
            break
        first = first[first + distance < clicks.shape[0]]
        first = first[session[first + distance] == session[first]]
        keys = clicks[first] * items + clicks[first + distance]
        parts.append((keys, weights[session[first]] * weight))
        held += keys.numel()
        if held > PAIRS:  # added up, however long a session is
            parts, held = [_sums(parts)], 0
    return _sums(parts)


def _sums(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    keys, values = zip(*parts, strict=True)
    return added(torch.cat(keys), torch.cat(values))


def pairs_of_clicks(sessions: Sessions, items: int, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pairs of clicks on different items of a session, in both orders, added up.

    Args:
        sessions: of known items alone.
        items: size of the catalogue.
        weights: of each session's pairs, float64 (sessions,); 1 if not given.

    Returns:
        Keys, item · items + other, int64, rising; and the sums of their weights, float64.
    """
    if weights is None:
        weights = torch.ones(len(sessions), dtype=torch.float64)
    keys, sums = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    clicks, lengths = sessions.clicks.long() - 1, sessions.offsets.diff()
    partners = lengths.repeat_interleave(lengths)  # of each click: all clicks of its session
    begins, weights = sessions.offsets[:-1].repeat_interleave(lengths), weights.repeat_interleave(lengths)
    ends = partners.cumsum(0)
    bounds = [0]
    while bounds[-1] < clicks.numel():  # clicks with so many pairs
        done = int(ends[bounds[-1] - 1]) if bounds[-1] else 0
        bounds.append(max(bounds[-1] + 1, int(torch.searchsorted(ends, done + PAIRS, right=True))))
    for begin, end in pairwise(bounds):
        first = torch.arange(begin, end).repeat_interleave(partners[begin:end])
        before = ends[begin:end] - partners[begin:end] - (int(ends[begin - 1]) if begin else 0)
        second = clicks[begins[first] + torch.arange(first.numel()) - before[first - begin]]
        weight, first = weights[first], clicks[first]
        different = first != second
        found = (first * items + second)[different]
        keys, sums = added(torch.cat([keys, found]), torch.cat([sums, weight[different]]))
    return keys, sums


def added(keys: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Each key once, with the sum of its weights."""
    keys, place = torch.unique(keys, return_inverse=True)
    return keys, torch.zeros(len(keys), dtype=torch.float64).index_add_(0, place, weights)
