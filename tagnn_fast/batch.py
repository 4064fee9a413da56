"""Click sessions in memory: jagged, never padded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from tagnn_fast.checks import as_integer


class SessionBatch(NamedTuple):
    """A batch of click sessions, one after the other; unpacks into a model's arguments: ``model(*batch)``.

    Attributes:
        items: item ids of all clicks, int64 (clicks,).
        offsets: session b's clicks are ``items[offsets[b]:offsets[b + 1]]``, int64 (sessions + 1,).
    """

    items: Tensor
    offsets: Tensor

    @classmethod
    def from_lists(cls, sessions: Sequence[Sequence[int]]) -> SessionBatch:
        """Batch of sessions given as lists of item ids (1 and up), oldest click first.

        Raises:
            TypeError: if an item id is not an integer.
            ValueError: if a session is empty or an item id is outside 1..2^63 - 1.
        """
        items: list[int] = []
        for position, session in enumerate(sessions):
            if len(session) == 0:
                raise ValueError(f"sessions: expected at least one click each, got none in sessions[{position}]")
            for item in session:
                number = as_integer(item)
                if number is None:
                    raise TypeError(f"sessions: expected integer item ids, got {item!r} in sessions[{position}]")
                if not 1 <= number < 2**63:
                    raise ValueError(
                        f"sessions: expected item ids from 1 to 2^63 - 1, got {number} in sessions[{position}]"
                    )
                items.append(number)
        offsets = list(accumulate((len(session) for session in sessions), initial=0))
        return cls(torch.tensor(items, dtype=torch.int64), torch.tensor(offsets, dtype=torch.int64))

    def to(self, device: torch.device | str) -> SessionBatch:
        """The same batch on another device."""
        return SessionBatch(self.items.to(device), self.offsets.to(device))
