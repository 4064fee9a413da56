"""Scoring recommenders on examples: the model, and two baselines that every model must beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tagnn_fast.data.examples import ExampleBatch, PrefixExamples
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.recommender import Recommender
from tagnn_fast.training.metrics import RankingMetrics

CUTOFFS = (5, 10, 20)

TopK = Callable[[ExampleBatch, int], Tensor]  # item indices, best first, int64 (examples, k)


def evaluate(
    topk: TopK,
    examples: PrefixExamples,
    num_items: int,
    batch_size: int = 512,
    advance: Callable[[int], None] = lambda examples: None,
) -> dict[str, float]:
    """HR, MRR, NDCG and coverage at 5, 10 and 20 (or all items, if fewer), in percent, ranking the full catalogue.

    Args:
        topk: the recommender.
        examples: prefixes and their targets; a target without a row is a miss and stays in the denominator.
        num_items: size of the catalogue.
        batch_size: examples scored at once.
        advance: called with the number of examples after each batch.
    """
    cutoffs = sorted({min(cutoff, num_items) for cutoff in CUTOFFS})
    longest = cutoffs[-1]
    metrics = RankingMetrics(num_items, longest)
    for batch in examples.batches(batch_size):
        metrics.update(topk(batch, longest), batch.targets)
        advance(batch.targets.numel())
    return metrics.compute(tuple(cutoffs))


def evaluate_model(
    recommender: Recommender,
    examples: PrefixExamples,
    advance: Callable[[int], None] = lambda examples: None,
) -> dict[str, float]:
    """A model's figures; the most popular items answer prefixes without a known click.

    In "original" semantics, prefixes are padded to the longest of the examples, as the published code does.
    """
    original = recommender.model.config.semantics == "original"
    padded_length = examples.longest_prefix() if original else None

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        return recommender.topk(batch.items, batch.offsets, k, padded_length).items

    return evaluate(topk, examples, len(recommender.vocabulary), advance=advance)


def popularity(vocabulary: Vocabulary) -> TopK:
    """The same list for everyone: the items with most training clicks."""
    popular = torch.from_numpy(vocabulary.by_popularity())
    return lambda batch, k: popular[:k].expand(batch.targets.numel(), k)


def session_popularity(vocabulary: Vocabulary) -> TopK:
    """Items of the prefix by how often they were clicked in it, then all others; equal ones by training clicks."""
    popular = torch.from_numpy(vocabulary.by_popularity())
    place = torch.empty(len(popular) + 1, dtype=torch.int64)  # of each item in that order
    place[popular] = torch.arange(len(popular))

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        examples, ids = batch.targets.numel(), len(popular) + 1
        example = torch.arange(examples).repeat_interleave(batch.offsets.diff())
        known = batch.items != 0
        keys, clicks = torch.unique(example[known] * ids + batch.items[known], return_counts=True)
        order = place[keys % ids].argsort()
        order = order[clicks[order].argsort(descending=True, stable=True)]
        order = order[(keys[order] // ids).argsort(stable=True)]
        example, items = keys[order] // ids, keys[order] % ids  # distinct items of each prefix, best first
        distinct = torch.bincount(example, minlength=examples)
        rank = torch.arange(items.numel()) - (distinct.cumsum(0) - distinct)[example]
        longest = int(distinct.max())
        own = torch.zeros(examples, longest, dtype=torch.int64)
        own[example, rank] = items
        others = popular[: k + longest].expand(examples, -1)
        is_own = torch.isin(torch.arange(examples).unsqueeze(1) * ids + others, keys)
        candidates = torch.cat([own, others.masked_fill(is_own, 0)], 1)  # 0: nothing
        first = (candidates == 0).byte().argsort(dim=1, stable=True)[:, :k]
        return candidates.gather(1, first)

    return topk
