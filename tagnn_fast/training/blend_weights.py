"""What two methods weigh in a hybrid: as the sessions held out say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.metrics import rank_figures
from tagnn_fast.evaluation.scoring import cutoffs_of
from tagnn_fast.memory import enough_memory
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.nn.ranking import known_clicks
from tagnn_fast.runs.configuration import MAX_CLICKS_PER_BATCH

STEPS = 20  # the first method weighs 0, 1 / 20, ..., 1, and the second the rest


@torch.no_grad()
def weigh(
    first: BlendRanker, second: BlendRanker, examples: PrefixExamples, advance: Callable[[int], None]
) -> list[dict[str, Any]]:
    """HR and MRR of two methods together on some examples, for each weight that is tried.

    Args:
        first: a method.
        second: another of the same items and popularity.
        examples: that neither has seen.
        advance: called with the number of examples after each batch.

    Returns:
        Of each pair of ``weights``, the first method's rising, the figures at the longest cutoff in percent.

    Raises:
        FloatingPointError: where a method gives no finite numbers.
        MemoryError: where there is not enough memory for a batch.
    """
    longest = cutoffs_of(first.num_items)[-1]
    tried = [(step / STEPS, (STEPS - step) / STEPS) for step in range(STEPS + 1)]
    at_rank = torch.zeros(len(tried), longest + 1, dtype=torch.int64)  # at 0: misses
    place = torch.empty_like(first.popular)
    place[first.popular] = torch.arange(first.num_items)
    for batch in examples.batches(first.at_once, most_clicks=MAX_CLICKS_PER_BATCH):
        with enough_memory("choosing a weight"):
            shares = [method.encode(batch.items, batch.offsets).shares[:, first.popular] for method in (first, second)]
            if not all(bool(part.isfinite().all()) for part in shares):
                raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
            target = place[(batch.targets - 1).clamp(min=0)]
            unknown = known_clicks(batch.items, batch.offsets) == 0
            for counts, weights in zip(at_rank, tried, strict=True):
                ranks = _ranks(weights[0] * shares[0] + weights[1] * shares[1], target)
                ranks = torch.where(unknown, target + 1, ranks)  # popularity answers
                ranks = torch.where((batch.targets == 0) | (ranks > longest), 0, ranks)
                counts += torch.bincount(ranks, minlength=longest + 1)
        advance(batch.targets.numel())
    names = f"HR@{longest}", f"MRR@{longest}"
    figures = [rank_figures(counts, longest) for counts in at_rank]
    return [
        {"weights": list(weights), **{name: found[name] for name in names}}
        for weights, found in zip(tried, figures, strict=True)
    ]


def best_of(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of :func:`weigh` with the highest MRR; of equal ones the first."""
    (metric,) = (name for name in table[0] if name.startswith("MRR"))
    return max(table, key=lambda entry: float(entry[metric]))


def _ranks(shares: Tensor, target: Tensor) -> Tensor:
    """Rank of each session's target, int64 (sessions,); of equal shares the more popular stands first.

    Args:
        shares: most popular item first, (sessions, items).
        target: its place there, int64 (sessions,).
    """
    own = shares.gather(1, target.unsqueeze(1))
    before = torch.arange(shares.shape[1]) < target.unsqueeze(1)
    return 1 + ((shares > own) | ((shares == own) & before)).sum(1)
