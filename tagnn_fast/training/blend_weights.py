"""What two methods weigh in a hybrid: as the sessions held out say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.metrics import rank_figures
from tagnn_fast.evaluation.scoring import cutoffs_of, padding_of
from tagnn_fast.memory import enough_memory
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.nn.ranking import known_clicks
from tagnn_fast.runs.configuration import MAX_CLICKS_PER_BATCH

_BEST = 256  # items of each method that are looked at first
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
    padding = [padding_of(method, examples) for method in (first, second)]
    for batch in examples.batches(first.at_once, most_clicks=MAX_CLICKS_PER_BATCH):
        with enough_memory("choosing a weight"):
            shares = [
                method.encode(batch.items, batch.offsets, padded_length).shares[:, first.popular]
                for method, padded_length in zip((first, second), padding, strict=True)
            ]
            if not all(bool(part.isfinite().all()) for part in shares):
                raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
            target = place[(batch.targets - 1).clamp(min=0)]
            standing = _Standing(shares[0], shares[1], target)
            unknown = known_clicks(batch.items, batch.offsets) == 0
            for counts, weights in zip(at_rank, tried, strict=True):
                ranks = torch.where(unknown, target + 1, standing.ranks(*weights, longest))  # popularity answers
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


class _Standing:
    """Where targets stand by the weighted sum of two methods' shares, of equal ones the more popular first.

    Few items are enough to know: what is not among the best of either method has at most what the last of them has.

    Args:
        first: shares of all items, most popular first, (sessions, items).
        second: the same of another method.
        target: place of each session's target there, int64 (sessions,).
    """

    def __init__(self, first: Tensor, second: Tensor, target: Tensor) -> None:
        self.shares, self.target = (first, second), target.unsqueeze(1)
        best = [part.topk(min(_BEST, part.shape[1]), dim=1) for part in self.shares]
        seen = torch.zeros_like(first, dtype=torch.bool).scatter(1, best[0].indices, True)
        self.places = torch.cat([part.indices for part in best], 1)
        twice = torch.cat([torch.zeros_like(seen[:, : best[0].indices.shape[1]]), seen.gather(1, best[1].indices)], 1)
        self.near = [part.gather(1, self.places).masked_fill(twice, -1.0) for part in self.shares]
        self.last = [part.values[:, -1:] for part in best]

    def ranks(self, first: float, second: float, longest: int) -> Tensor:
        """Ranks given two weights, int64 (sessions,): true ones up to `longest`, and beyond it some others beyond."""

        def mixed(parts: Sequence[Tensor]) -> Tensor:
            return first * parts[0] + second * parts[1]

        own = mixed([part.gather(1, self.target) for part in self.shares])
        ranks = _ranks(mixed(self.near), own, self.places, self.target)
        unsure = (ranks <= longest) & (own <= mixed(self.last)).squeeze(1)
        if bool(unsure.any()):
            every = mixed([part[unsure] for part in self.shares])
            ranks[unsure] = _ranks(every, own[unsure], torch.arange(every.shape[1]), self.target[unsure])
        return ranks


def _ranks(shares: Tensor, own: Tensor, places: Tensor, target: Tensor) -> Tensor:
    """One more than the items that stand before the target, which has `own` and its place in popularity."""
    return 1 + ((shares > own) | ((shares == own) & (places < target))).sum(1)
