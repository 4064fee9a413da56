"""Recommenders that every model must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.data.examples import ExampleBatch
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.evaluation.scoring import TopK

RULE_CLICKS = 10  # how far apart two clicks may be for a sequential rule, as in Ludewig & Jannach
RULES = 100  # kept of each item, best first


def popularity(vocabulary: Vocabulary) -> TopK:
    """The same list for everyone: the items with most training clicks."""
    popular = torch.from_numpy(vocabulary.by_popularity())
    return lambda batch, k: popular[:k].expand(batch.targets.numel(), k)


def session_popularity(vocabulary: Vocabulary) -> TopK:
    """Items of the prefix by how often they were clicked in it, then all others; equal ones by training clicks."""
    popular = torch.from_numpy(vocabulary.by_popularity())

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        examples, ids = batch.targets.numel(), len(popular) + 1
        example = torch.arange(examples).repeat_interleave(batch.offsets.diff())
        known = batch.items != 0
        keys, clicks = torch.unique(example[known] * ids + batch.items[known], return_counts=True)
        return _then_popular(_best_first(keys, clicks, popular), examples, popular, k)

    return topk


def sequential_rules(train: Sessions, vocabulary: Vocabulary) -> TopK:
    """Items by how often, and how closely, they follow the prefix's last known click in training sessions.

    A click that comes d ≤ 10 clicks later counts 1/d (SR of Ludewig & Jannach, "Evaluation of session-based
    recommendation algorithms", 2018). Then all others; equal ones by training clicks.
    """
    popular = torch.from_numpy(vocabulary.by_popularity())
    ids = len(popular) + 1
    keys, weights = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    clicks = train.clicks.long()
    session = torch.arange(len(train)).repeat_interleave(train.offsets.diff())
    for distance in range(1, RULE_CLICKS + 1):
        together = session[distance:] == session[:-distance]
        pairs = (clicks[:-distance] * ids + clicks[distance:])[together]
        every = torch.cat([keys, pairs])
        every_weight = torch.cat([weights, torch.full(pairs.shape, 1 / distance, dtype=torch.float64)])
        keys, place = torch.unique(every, return_inverse=True)
        weights = torch.zeros(len(keys), dtype=torch.float64).index_add_(0, place, every_weight)
    keys = _best_first(keys, weights, popular)
    count = torch.bincount(keys // ids, minlength=ids)
    first = count.cumsum(0) - count  # of each item's rules

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        last = _last_known(batch)
        rules = count[last].clamp(max=RULES)  # none for item 0
        example = torch.arange(len(last)).repeat_interleave(rules)
        rank = torch.arange(int(rules.sum())) - (rules.cumsum(0) - rules)[example]
        items = keys[first[last][example] + rank] % ids
        return _then_popular(example * ids + items, len(last), popular, k)

    return topk


def _last_known(batch: ExampleBatch) -> Tensor:
    """The last click of each prefix on an item with a row, 0 where there is none."""
    place = torch.where(batch.items != 0, torch.arange(batch.items.numel()), -1)
    example = torch.arange(batch.targets.numel()).repeat_interleave(batch.offsets.diff())
    latest = torch.full((batch.targets.numel(),), -1).scatter_reduce(0, example, place, "amax")
    return torch.where(latest >= 0, batch.items[latest], 0)


def _best_first(keys: Tensor, weights: Tensor, popular: Tensor) -> Tensor:
    """Keys, group · (number of items + 1) + item, by group, then by falling weight, then by popularity."""
    ids = len(popular) + 1
    place = torch.empty(ids, dtype=torch.int64)
    place[popular] = torch.arange(len(popular))
    order = place[keys % ids].argsort()
    order = order[weights[order].argsort(descending=True, stable=True)]
    return keys[order[(keys[order] // ids).argsort(stable=True)]]


def _then_popular(keys: Tensor, examples: int, popular: Tensor, k: int) -> Tensor:
    """Each example's own items, then the most popular others: (examples, k).

    Args:
        keys: example · (number of items + 1) + item, an example's items side by side, best first, each once.
        examples: how many.
        popular: all items, best first.
        k: length of the lists.
    """
    ids = len(popular) + 1
    example, items = keys // ids, keys % ids
    count = torch.bincount(example, minlength=examples)
    rank = torch.arange(items.numel()) - (count.cumsum(0) - count)[example]
    longest = int(count.max())
    own = torch.zeros(examples, longest, dtype=torch.int64)
    own[example, rank] = items
    others = popular[: k + longest].expand(examples, -1)
    is_own = torch.isin(torch.arange(examples).unsqueeze(1) * ids + others, keys)
    candidates = torch.cat([own, others.masked_fill(is_own, 0)], 1)  # 0: nothing
    first = (candidates == 0).byte().argsort(dim=1, stable=True)[:, :k]
    return candidates.gather(1, first)
