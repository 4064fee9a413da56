"""Ranking metrics against their definitions, written out list by list."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.evaluation.metrics import RankingMetrics


def written_out(lists: list[list[int]], targets: list[int], items: int, cutoff: int) -> dict[str, float]:
    ranks = [
        best[:cutoff].index(target) + 1 if target in best[:cutoff] else math.inf
        for best, target in zip(lists, targets, strict=True)
    ]
    count = len(targets)
    return {
        f"HR@{cutoff}": 100 * sum(rank < math.inf for rank in ranks) / count,
        f"MRR@{cutoff}": 100 * sum(1 / rank for rank in ranks) / count,
        f"NDCG@{cutoff}": 100 * sum(1 / math.log2(rank + 1) for rank in ranks if rank < math.inf) / count,
        f"coverage@{cutoff}": 100 * len({item for best in lists for item in best[:cutoff]}) / items,
    }


@settings(deadline=None, max_examples=100)
@given(st.integers(20, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_definition(items: int, examples: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lists = torch.stack([torch.randperm(items, generator=generator)[:20] + 1 for _ in range(examples)])
    targets = torch.randint(0, items + 1, (examples,), generator=generator)  # 0: a target without a row
    metrics = RankingMetrics(items, 20)
    for part in range(0, examples, 7):
        metrics.update(lists[part : part + 7], targets[part : part + 7])
    expected: dict[str, float] = {}
    for cutoff in (1, 5, 20):
        expected.update(written_out(lists.tolist(), targets.tolist(), items, cutoff))
    assert metrics.compute((1, 5, 20)) == pytest.approx(expected, rel=1e-12)
    assert metrics.examples == examples


def test_targets_without_a_row_are_misses() -> None:
    """Even where a list holds 0, which no recommender should give."""
    metrics = RankingMetrics(3, 2)
    metrics.update(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]))
    assert metrics.compute((2,))["HR@2"] == 50


def test_errors() -> None:
    metrics = RankingMetrics(3, 2)
    with pytest.raises(ValueError, match="metrics: expected at least one example, got none"):
        metrics.compute((1,))
    metrics.update(torch.tensor([[1, 2]]), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"cutoffs: expected 1..2, got 3"):
        metrics.compute((3,))
