"""The item screen: item vectors as int8 numbers, for bounds of all scores at a quarter of the bytes of the table."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32  # items whose numbers stand together
MOST_HIDDEN = 1024
FEWEST_ITEMS = 8192  # of a table that top-k makes use of a screen for
LONGEST = 1e8  # of vectors that are screened


def item_screen(table: Tensor) -> Tensor:
    """Item vectors as whole numbers, each with its scale and with how far these are off; on the CPU.

    Args:
        table: item vectors, float32 or bfloat16 (items, hidden), hidden at most 1024.

    Returns:
        uint8 (blocks, bytes), a block for 32 items. It has their scales, float32 (32,), their errors, float32 (32,),
        and their numbers, (hidden / 4, 32, 4), the last units filled up with zeros; 128 stands for 0. Item v has the
        numbers c = round(v / scale), scale = max |v| / 127, and an error of at least the norm of v - scale * c; it is
        infinite for vectors that are not finite, or longer than 1e8.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    return torch.ops.tagnn_fast.item_screen(table.detach())  # type: ignore[no-any-return]


def screen_helps(table: Tensor) -> bool:
    """Whether float32 sessions get their lists faster with a screen of this table."""
    has_kernel = table.device.type == "cpu" and table.dtype in (torch.float32, torch.bfloat16)
    counted = not table.is_inference()  # how often such a one is written to is not known
    return has_kernel and counted and table.shape[0] >= FEWEST_ITEMS and table.shape[1] <= MOST_HIDDEN


@torch.library.register_fake("tagnn_fast::item_screen")
def _(table: Tensor) -> Tensor:
    steps = (table.shape[1] + 3) // 4
    blocks = (table.shape[0] + BLOCK - 1) // BLOCK
    return table.new_empty((blocks, BLOCK * (8 + 4 * steps)), dtype=torch.uint8)
