"""What recommendation lists are made of: how popular the items in them are, and how evenly items get into them."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.parallel.processes import Processes


class ListStatistics:
    """Popularity bias and concentration of recommendation lists, added up batch by batch; no list is kept.

    Args:
        num_items: size of the catalogue.
        cutoffs: lengths of the lists that are looked at.
    """

    def __init__(self, num_items: int, cutoffs: tuple[int, ...]) -> None:
        self._cutoffs = cutoffs
        self._times = torch.zeros(len(cutoffs), num_items + 1, dtype=torch.int64)  # recommended so often

    def update(self, recommended: Tensor) -> None:
        """Add lists of item indices, best first, int64 (examples, longest cutoff)."""
        recommended = recommended.cpu()
        for times, cutoff in zip(self._times, self._cutoffs, strict=True):
            items = recommended[:, :cutoff].flatten()
            times.index_add_(0, items, torch.ones_like(items))

    def add_up(self, processes: Processes) -> None:
        """Take in what the other processes have added, as if it had been added here."""
        processes.sum(self._times)

    def compute(self, clicks: Tensor) -> dict[str, float]:
        """Popularity and Gini coefficient at each cutoff, such as ``{"popularity@20": 4.1, "Gini@20": 0.83, ...}``.

        - popularity: average recommendation popularity, the mean over lists of the mean popularity of their items
          (Abdollahpouri et al., "Managing popularity bias in recommender systems with personalized re-ranking", 2019),
          where an item's popularity is its training clicks, in percent of those of the most clicked item
          (Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", 2018).
        - Gini: of how often each item of the catalogue is recommended, from 0, all equally often, to 1, always the same
          item (Shani & Gunawardana, "Evaluating recommendation systems", 2011).

        Args:
            clicks: training clicks on each item, (items,).
        """
        popularity = clicks.double() / clicks.max().clamp(min=1)
        result: dict[str, float] = {}
        for times, cutoff in zip(self._times[:, 1:].double(), self._cutoffs, strict=True):
            result[f"popularity@{cutoff}"] = 100 * float((times * popularity).sum() / times.sum())
            result[f"Gini@{cutoff}"] = gini(times)
        return result


def gini(amounts: Tensor) -> float:
    """The Gini coefficient of some amounts, (any,): 0 where all are equal, 1 where one has everything."""
    count = amounts.numel()
    if count == 1:
        return 0.0
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1
    rising = amounts.double().sort().values
    return float((weights * rising).sum() / ((count - 1) * rising.sum()))
