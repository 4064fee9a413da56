"""Processes that train together: which of them this one is, and what they agree on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

# What the errors of a lost connection have in common that PyTorch raises as plain RuntimeErrors.
_SIGNS = "gloo/", "Connection closed by peer", "Connection reset by peer", "Broken pipe"


def process_seed(*where: int) -> int:
    """Of what a process draws by itself: who draws, at which place of what."""
    return int.from_bytes(hashlib.sha256(repr(where).encode()).digest()[:8])


class LostProcessError(ConnectionError):
    """One of the other processes is no more."""


@dataclass(frozen=True)
class Processes:
    """All processes of a training; every one of them calls the same methods in the same order.

    Attributes:
        rank: of this process, from 0.
        count: of all processes.
        local_rank: of this process among those of its machine.
        is_group: whether they are in a process group; where not, there is one process, and the methods give back what
            they get.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    is_group: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, shows and tells."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.is_group:
            dist.all_reduce(value)
        return value

    def smallest(self, value: Tensor) -> Tensor:
        """Smallest of the processes' values, element by element, in place."""
        if self.is_group:
            dist.all_reduce(value, dist.ReduceOp.MIN)
        return value

    def any(self, answer: bool) -> bool:
        """Whether one of the processes says so."""
        return bool(self.sum(torch.tensor(int(answer))))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.any(False)

    def told(self, text: str = "") -> str:
        """What the first process gives here, for all; what the others give counts for nothing."""
        if not self.is_group:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor(content.numel())
        dist.broadcast(length, 0)
        if not self.is_first:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return content.numpy().tobytes().decode()


ALONE = Processes()


@contextmanager
def connected(processes: Processes) -> Iterator[None]:
    """Tell a lost process from other errors.

    Raises:
        LostProcessError: in the place of what PyTorch raises.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or any(sign in str(error) for sign in _SIGNS)
        if not processes.is_group or not lost:
            raise
        raise LostProcessError(f"lost one of {processes.count} processes") from error
