"""Rows that processes exchange: every process of a group calls the same function at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

Group = dist.ProcessGroup | None  # None is the group of all processes

# PyTorch 2.13 gives new names to what 2.10 has already.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def gather_parts(
    parts: Sequence[Tensor], rooms: Sequence[int], group: Group, fills: Sequence[int] | None = None
) -> list[Tensor]:
    """All processes' rows of some tensors of one dtype, in one message.

    Args:
        parts: (rows, ...) each; how many rows may differ from process to process.
        rooms: how many rows of each part are taken from every process: the most that any has.
        group: the processes.
        fills: what rows that a process does not have are filled with, for each part; 0 if not given.

    Returns:
        For each part, (processes * room, ...), process after process.
    """
    filled = []
    for part, room, fill in zip(parts, rooms, fills or [0] * len(parts), strict=True):
        filled.append(F.pad(part, [0, 0] * (part.dim() - 1) + [0, room - part.shape[0]], value=fill))
    message = torch.cat(filled)
    gathered = message.new_empty((dist.get_world_size(group) * message.shape[0], *message.shape[1:]))
    _all_gather(gathered, message, group=group)
    by_process = gathered.unflatten(0, (-1, sum(rooms))) if sum(rooms) else gathered.unsqueeze(0)
    return [part.flatten(0, 1) for part in by_process.split(list(rooms), 1)]


def scatter_sums(parts: Sequence[Tensor], rooms: Sequence[int], group: Group) -> list[Tensor]:
    """The way back: each process's rows of what :func:`gather_parts` gives, summed over what all processes have there.

    Args:
        parts: (processes * room, ...) each.
        rooms: rows of each part that come back.
        group: the processes.

    Returns:
        For each part, (room, ...).
    """
    processes = dist.get_world_size(group)
    message = torch.cat([part.unflatten(0, (processes, room)) for part, room in zip(parts, rooms, strict=True)], 1)
    result = message.new_empty(message.shape[1:])
    _reduce_scatter(result, message.flatten(0, 1), group=group)
    return list(result.split(list(rooms)))


def exchange_rows(rows: Tensor, sent: Sequence[int], received: Sequence[int], group: Group) -> Tensor:
    """Send the first ``sent[0]`` rows to process 0, and so on; what arrives, process after process.

    Args:
        rows: (sum(sent), ...).
        sent: to each process.
        received: from each process.
        group: the processes.

    Returns:
        (sum(received), ...).
    """
    result = rows.new_empty((sum(received), *rows.shape[1:]))
    dist.all_to_all_single(result, rows.contiguous(), list(received), list(sent), group=group)
    return result


def largest(numbers: Sequence[int], device: torch.device, group: Group) -> list[int]:
    """The largest that any process has of each number."""
    value = torch.tensor(numbers, dtype=torch.int64, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX, group=group)
    return value.tolist()
