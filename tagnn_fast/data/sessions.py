"""Whole sessions, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def offsets_of(lengths: Tensor) -> Tensor:
    """Where parts of these lengths begin, one behind the other, and the last ends: int64 (parts + 1,)."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


@dataclass(frozen=True)
class Sessions:
    """Sessions of item indices, oldest click first, in the order of time.

    Attributes:
        clicks: item of each click, int32 (clicks,): 1..number of items, or 0 for an item without a row.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        examples: how many of a session's last clicks are targets, int64 (sessions,): one less than its clicks where
            every proper prefix is an example, which is the rule.
        times: of each session's last click, or the date that logs were prepared by (such as its day), seconds since
            1970 in UTC, int64 (sessions,); None where they are not known.

    Raises:
        TypeError: on a wrong dtype.
        ValueError: on offsets that do not start at 0, fall, or do not end at the number of clicks, an empty session, a
            negative item, more examples than proper prefixes, or another number of times than of sessions.
    """

    clicks: Tensor
    offsets: Tensor
    examples: Tensor
    times: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("clicks", "offsets", "examples", "times"):
            value, dtype = getattr(self, name), torch.int32 if name == "clicks" else torch.int64
            if name == "times" and value is None:
                continue
            if value.dtype != dtype or value.dim() != 1:
                raise TypeError(f"{name}: expected a vector of {dtype}, got {value.dtype} {tuple(value.shape)}")
        if self.offsets.numel() == 0 or self.offsets[0] != 0 or self.offsets[-1] != self.clicks.numel():
            raise ValueError(
                f"offsets: expected to run from 0 to the number of clicks {self.clicks.numel()}, "
                f"got {self.offsets[:1].tolist()}..{self.offsets[-1:].tolist()}"
            )
        lengths = self.offsets.diff()
        if lengths.numel() and int(lengths.min()) < 1:
            raise ValueError(f"sessions: expected at least one click in each, got none in session {lengths.argmin()}")
        if self.clicks.numel() and int(self.clicks.min()) < 0:
            raise ValueError(f"clicks: expected item indices of 0 and more, got {int(self.clicks.min())}")
        if self.examples.shape != lengths.shape or bool(((self.examples < 0) | (self.examples >= lengths)).any()):
            raise ValueError("examples: expected one number per session, less than its clicks")
        if self.times is not None and self.times.shape != lengths.shape:
            raise ValueError(f"times: expected one per session, {len(self)}, got {self.times.numel()}")

    def __len__(self) -> int:
        return self.offsets.shape[0] - 1

    @classmethod
    def whole(cls, clicks: Tensor, offsets: Tensor, times: Tensor | None = None) -> Sessions:
        """Sessions of which every proper prefix is an example."""
        return cls(clicks, offsets, (offsets.diff() - 1).clamp(min=0), times)

    @classmethod
    def from_lists(cls, sessions: Sequence[Sequence[int]], times: Sequence[int] | None = None) -> Sessions:
        """Sessions given as lists of item indices, every proper prefix an example."""
        if not all(hasattr(item, "__index__") for session in sessions for item in session):
            raise TypeError("sessions: expected integer item indices, got something else")
        lengths = np.fromiter((len(session) for session in sessions), np.int64, len(sessions))
        total = int(lengths.sum())
        clicks = np.fromiter((item for session in sessions for item in session), np.int32, total)
        offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        own = None if times is None else torch.tensor(times, dtype=torch.int64)
        return cls.whole(torch.from_numpy(clicks), torch.from_numpy(offsets), own)

    def to(self, device: torch.device | str) -> Sessions:
        """The same sessions on another device."""
        times = None if self.times is None else self.times.to(device)
        return Sessions(self.clicks.to(device), self.offsets.to(device), self.examples.to(device), times)

    def slice(self, begin: int, end: int) -> Sessions:
        """Sessions begin to end - 1, without a copy of their clicks."""
        first, last = int(self.offsets[begin]), int(self.offsets[end])
        times = None if self.times is None else self.times[begin:end]
        offsets = self.offsets[begin : end + 1] - first
        return Sessions(self.clicks[first:last], offsets, self.examples[begin:end], times)
