"""Prefixes and the clicks that follow, as a view of whole sessions: nothing is materialised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.data.sessions import Sessions, offsets_of


class ExampleBatch(NamedTuple):
    """Prefixes and their targets: items int64 (clicks,), offsets int64 (examples + 1,), targets int64 (examples,)."""

    items: Tensor
    offsets: Tensor
    targets: Tensor


class PrefixExamples:
    """All examples of some sessions, or a subset: session after session, each session's longest prefix first.

    Args:
        sessions: where the examples are cut from.
        subset: numbers of the examples to keep, int64, in any order; None for all.
    """

    def __init__(self, sessions: Sessions, subset: Tensor | None = None) -> None:
        self.sessions = sessions
        self.first_example = offsets_of(sessions.examples)
        self._total = int(self.first_example[-1])
        if subset is not None and subset.numel():
            low, high = (int(bound) for bound in subset.aminmax())
            if low < 0 or high >= self._total:
                raise ValueError(
                    f"subset: expected example numbers in 0..{self._total - 1}, got {low if low < 0 else high}"
                )
        self.subset = subset

    def __len__(self) -> int:
        return self._total if self.subset is None else self.subset.numel()

    def prefix_lengths(self) -> Tensor:
        """Clicks of each prefix, int64 (examples,)."""
        sessions = self.sessions
        longest = (sessions.offsets.diff() - 1).repeat_interleave(sessions.examples)
        first = self.first_example[:-1].repeat_interleave(sessions.examples)
        lengths = longest - (torch.arange(self._total, device=first.device) - first)
        return lengths if self.subset is None else lengths[self.subset]

    def session_numbers(self) -> Tensor:
        """The session that each example is cut from, int64 (examples,)."""
        numbers = torch.arange(len(self.sessions)).repeat_interleave(self.sessions.examples.cpu())
        return numbers if self.subset is None else numbers[self.subset.cpu()]

    def clicks(self) -> tuple[Tensor, Tensor]:
        """Those that some example has in its prefix or as its target; all clicks where no example is left out.

        Returns:
            Items, int32 (clicks,), and where each session's begin and the last's end, int64 (sessions + 1,).
        """
        sessions = self.sessions
        if self.subset is None:
            return sessions.clicks, sessions.offsets
        longest = torch.zeros(len(sessions), dtype=torch.int64)
        longest.scatter_reduce_(0, self.session_numbers(), self.prefix_lengths().cpu() + 1, "amax")
        lengths, ends = sessions.offsets.diff().cpu(), offsets_of(longest)
        place = torch.arange(sessions.clicks.numel()) - sessions.offsets[:-1].cpu().repeat_interleave(lengths)
        kept = place < longest.repeat_interleave(lengths)
        return sessions.clicks[kept.to(sessions.clicks.device)], ends.to(sessions.offsets.device)

    def longest_prefix(self) -> int:
        """Clicks of the longest prefix, which the published code pads a data split to; 0 without examples."""
        return int(self.prefix_lengths().max()) if len(self) else 0

    def to(self, device: torch.device | str) -> PrefixExamples:
        """The same examples, cut on another device; a GPU's need a capacity."""
        return PrefixExamples(self.sessions.to(device), None if self.subset is None else self.subset.to(device))

    def cut(self, places: Tensor, capacity: int | None = None) -> ExampleBatch:
        """The examples at these places of the view, int64 (examples,), as one batch.

        With a capacity the batch has so many clicks: zeros that belong to no example follow the last of them.
        """
        numbers = places if self.subset is None else self.subset[places]
        sessions = self.sessions
        batch = ops.prefix_batch(sessions.clicks, sessions.offsets, self.first_example, numbers, capacity)
        return ExampleBatch(*batch)

    def batches(
        self, size: int, order: Tensor | None = None, first: int = 0, most_clicks: int | None = None
    ) -> Iterator[ExampleBatch]:
        """Batches of `size` examples (the last may be smaller), in `order` or as they stand, from batch `first` on.

        One of more than `most_clicks` clicks is given in parts, see :func:`parts`.
        """
        lengths = self.prefix_lengths() if most_clicks is not None else None
        for begin in range(first * size, len(self), size):
            end = min(begin + size, len(self))
            places = torch.arange(begin, end) if order is None else order[begin:end]
            for part in places.split(parts(lengths[places], most_clicks)) if lengths is not None else (places,):
                yield self.cut(part)


def parts(lengths: Tensor, most_clicks: int | None) -> list[int]:
    """How many examples, one after the other, make each part of a batch: as many as have at most so many clicks.

    Args:
        lengths: clicks of each example's prefix, int64 (examples,). A longer one makes a part of its own.
        most_clicks: of a part; None for all in one.
    """
    if most_clicks is None or int(lengths.sum()) <= most_clicks:
        return [lengths.numel()]
    sizes, clicks = [0], 0
    for length in lengths.tolist():
        if sizes[-1] and clicks + length > most_clicks:
            sizes.append(0)
            clicks = 0
        sizes[-1] += 1
        clicks += length
    return sizes


def shuffled(examples: int, seed: int, epoch: int) -> Tensor:
    """The order of one epoch's examples: depends on the seed and the epoch alone, so that it can be made again."""
    generator = torch.Generator().manual_seed((seed << 20) + epoch)
    return torch.randperm(examples, generator=generator)
