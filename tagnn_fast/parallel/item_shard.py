"""Which rows of the item table a process holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist

from tagnn_fast.checks import check_count
from tagnn_fast.parallel.collectives import Group


def rows_of_each(num_items: int, processes: int) -> int:
    """How many rows of the table each process holds, but for the last, which may hold fewer.

    Raises:
        ValueError: where a process would have no item.
    """
    rows = -(-(num_items + 1) // processes)
    if (processes - 1) * rows >= num_items + 1 or rows == 1:
        raise ValueError(f"num_items: expected enough that each of {processes} processes holds some, got {num_items}")
    return rows


@dataclass(frozen=True)
class ItemShard:
    """Consecutive rows of an item table, (num_items + 1, hidden), whose row 0 is the padding item.

    All processes have as many rows, but for the last, which may have fewer: where the rows of a DTensor lie.

    Args:
        num_items: size of the whole catalogue.
        group: the processes that hold it together; None for all.

    Attributes:
        rank: of this process in the group.
        processes: of the group.

    Raises:
        ValueError: where a process would have no item.
    """

    num_items: int
    group: Group = None

    def __post_init__(self) -> None:
        rows_of_each(check_count(self.num_items, "num_items"), self.processes)

    @property
    def rank(self) -> int:  # noqa: D102 (an attribute of the class)
        return dist.get_rank(self.group)

    @property
    def processes(self) -> int:  # noqa: D102 (an attribute of the class)
        return dist.get_world_size(self.group)

    @property
    def _size(self) -> int:
        return rows_of_each(self.num_items, self.processes)

    @property
    def starts(self) -> list[int]:
        """First row of each process."""
        return list(range(0, self.num_items + 1, self._size))

    @property
    def rows(self) -> slice:
        """Those of the table that this process holds."""
        return slice(self.rank * self._size, min((self.rank + 1) * self._size, self.num_items + 1))

    @property
    def first_item(self) -> int:
        """The first item, from 0, whose vector is here: rows but the padding item's."""
        return max(self.rank * self._size - 1, 0)
