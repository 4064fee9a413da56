"""Ranking metrics of next-item recommendation, in percent, over the full catalogue."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.parallel.processes import Processes


class RankingMetrics:
    """HR@K, MRR@K, NDCG@K and catalogue coverage of recommendation lists, added up batch by batch.

    One target per example, so that everything follows from how often it stood at each rank. A target that is not in the
    list, or has no row (item 0), is a miss and counts in the denominator.

    Args:
        num_items: size of the catalogue.
        longest: length of the lists.
    """

    def __init__(self, num_items: int, longest: int) -> None:
        self._at_rank = torch.zeros(longest + 1, dtype=torch.int64)  # at 0: misses
        self._best_rank = torch.full((num_items + 1,), longest + 1)  # of each item, over all lists

    @property
    def examples(self) -> int:
        """How many were added."""
        return int(self._at_rank.sum())

    def update(self, recommended: Tensor, targets: Tensor) -> Tensor:
        """Add lists of item indices, best first, int64 (examples, longest), and what was clicked, int64 (examples,).

        Returns:
            The rank of each target, int64 (examples,), 0 for a miss.
        """
        recommended, targets = recommended.cpu(), targets.cpu()
        places = torch.arange(1, recommended.shape[1] + 1)
        hits = (recommended == targets.unsqueeze(1)) & (targets != 0).unsqueeze(1)
        ranks = (hits * places).sum(1)
        self._at_rank += torch.bincount(ranks, minlength=self._at_rank.numel())
        self._best_rank.scatter_reduce_(0, recommended.flatten(), places.expand_as(recommended).flatten(), "amin")
        return ranks

    def add_up(self, processes: Processes) -> None:
        """Take in what the other processes have added, as if it had been added here."""
        processes.sum(self._at_rank)
        processes.smallest(self._best_rank)

    def compute(self, cutoffs: tuple[int, ...] = (5, 10, 20)) -> dict[str, float]:
        """All metrics at each cutoff, such as ``{"HR@20": 70.9, ...}``.

        Raises:
            ValueError: without any example, or on a cutoff beyond the lists.
        """
        if self.examples == 0:
            raise ValueError("metrics: expected at least one example, got none")
        result: dict[str, float] = {}
        for cutoff in cutoffs:
            result.update(rank_figures(self._at_rank, cutoff))
            result[f"coverage@{cutoff}"] = 100 * float((self._best_rank[1:] <= cutoff).double().mean())
        return result


def rank_figures(at_rank: Tensor, cutoff: int) -> dict[str, float]:
    """HR, MRR and NDCG at a cutoff, in percent.

    Args:
        at_rank: how many targets stood at each rank, int64 (longest + 1,); the first are misses.
        cutoff: length of the lists.

    Raises:
        ValueError: on a cutoff beyond the ranks.
    """
    longest = at_rank.numel() - 1
    if not 1 <= cutoff <= longest:
        raise ValueError(f"cutoffs: expected 1..{longest}, got {cutoff}")
    ranks = torch.arange(1, longest + 1, dtype=torch.float64)
    share = 100 * at_rank[1:].double() / int(at_rank.sum())  # percent of targets at each rank
    return {
        f"HR@{cutoff}": float(share[:cutoff].sum()),
        f"MRR@{cutoff}": float((share / ranks)[:cutoff].sum()),
        f"NDCG@{cutoff}": float((share / (ranks + 1).log2())[:cutoff].sum()),
    }
