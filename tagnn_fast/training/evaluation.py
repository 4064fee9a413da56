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
    order = torch.from_numpy(vocabulary.by_popularity())
    place = torch.empty_like(order)
    place[order - 1] = torch.arange(order.numel())
    tie_breaker = 1 - (place.double() + 1) / (order.numel() + 1)  # (items,), in (0, 1)

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        session = torch.arange(batch.targets.numel()).repeat_interleave(batch.offsets.diff())
        known = batch.items != 0
        scores = tie_breaker.repeat(batch.targets.numel(), 1)  # (examples, items)
        ones = torch.ones(int(known.sum()), dtype=torch.float64)
        scores.index_put_((session[known], batch.items[known] - 1), ones, accumulate=True)
        return scores.topk(k, dim=1).indices + 1

    return topk
