"""Examples in groups, since averages hide what some users feel: by length of prefix, by repeats, by popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.metrics import rank_figures

_LENGTHS = {"1": 1, "2": 2, "3": 3, "4 to 5": 4, "6 to 10": 6, "11 and more": 11}  # and where each begins
_QUARTERS = 4
_NO_ROW = "not an item of the training sessions"


@dataclass(frozen=True)
class Breakdown:
    """Each example in one group.

    Attributes:
        title: what they are grouped by.
        groups: their names.
        group: of each example, int64 (examples,): a place in `groups`.
    """

    title: str
    groups: Sequence[str]
    group: Tensor

    @property
    def sizes(self) -> list[int]:
        """Examples of each group."""
        return torch.bincount(self.group, minlength=len(self.groups)).tolist()

    def figures(self, ranks: Tensor, longest: int) -> list[dict[str, float]]:
        """HR, MRR and NDCG of each group at the longest cutoff, in percent; none of a group without examples.

        Args:
            ranks: of the targets, uint8 (examples,), 0 for a miss.
            longest: length of the lists.
        """
        keys = self.group * (longest + 1) + ranks
        at_rank = torch.bincount(keys, minlength=len(self.groups) * (longest + 1)).view(-1, longest + 1)
        return [rank_figures(counts, longest) if counts.any() else {} for counts in at_rank]


def breakdowns(examples: PrefixExamples, clicks: Tensor) -> list[Breakdown]:
    """By length of the prefix, by whether the target was clicked before in it, and by the target's popularity.

    Targets without a row, which nothing can recommend, are a group of their own in the last two. Popularity is in
    quarters of the training clicks: the most clicked items that together have a quarter of them, and so on to the long
    tail, which has the most items. An item across a border belongs to the quarter in which it begins.

    Args:
        examples: prefixes and their targets.
        clicks: training clicks on each item, int64 (items,).
    """
    sessions, lengths = examples.sessions, examples.prefix_lengths()
    places = sessions.offsets[:-1][examples.session_numbers()] + lengths
    targets = sessions.clicks[places].long()
    begins = torch.tensor(list(_LENGTHS.values()))
    length = torch.bucketize(lengths, begins, right=True) - 1
    repeated = _repeats(sessions.clicks.long(), sessions.offsets, clicks.numel())[places].long()
    quarter, items = _quarters(clicks)
    names = "most clicked", "second", "third", "least clicked"
    popularity = [f"{name} quarter ({count:,} items)" for name, count in zip(names, items, strict=True)]
    no_row = targets == 0
    return [
        Breakdown("clicks so far", list(_LENGTHS), length),
        Breakdown(
            "whether the target was clicked before in the session",
            ["no", "yes", _NO_ROW],
            torch.where(no_row, 2, repeated),
        ),
        Breakdown(
            "popularity of the target",
            [*popularity, _NO_ROW],
            torch.where(no_row, _QUARTERS, quarter[(targets - 1).clamp(min=0)]),
        ),
    ]


def _repeats(clicks: Tensor, offsets: Tensor, num_items: int) -> Tensor:
    """Whether the session has clicked on the item of each click before, bool (clicks,)."""
    session = torch.arange(offsets.numel() - 1).repeat_interleave(offsets.diff())
    _, place = torch.unique(session * (num_items + 1) + clicks, return_inverse=True)
    order = torch.arange(clicks.numel())
    first = torch.full_like(order, clicks.numel()).scatter_reduce(0, place, order, "amin")
    return first[place] < order


def _quarters(clicks: Tensor) -> tuple[Tensor, list[int]]:
    """The quarter of each item, 0 to 3, int64 (items,), and how many items each has."""
    order = clicks.argsort(descending=True, stable=True)
    before = clicks[order].cumsum(0) - clicks[order]
    quarter = torch.empty_like(order)
    quarter[order] = (_QUARTERS * before // clicks.sum().clamp(min=1)).clamp(max=_QUARTERS - 1)
    return quarter, torch.bincount(quarter, minlength=_QUARTERS).tolist()
