"""Training examples cut out of whole sessions (SR-GNN, section 4.1): every proper prefix, and the click after it."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference


def prefix_batch(
    clicks: Tensor, offsets: Tensor, first_example: Tensor, examples: Tensor, capacity: Optional[int] = None
) -> tuple[Tensor, Tensor, Tensor]:
    """A jagged batch of the examples asked for, cut where the data set lies.

    Examples are numbered session after session, each session's longest prefix first, as the field's files list them:
    example ``first_example[s] + j`` is session s without its last 1 + j clicks, its target the first of those. Any
    values are taken: numbers that are no example give an empty session and target 0.

    Args:
        clicks: item of each click of all sessions, int32 (clicks,).
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        first_example: number of each session's first example and of all examples, rising, int64 (sessions + 1,).
        examples: numbers of the examples, in any order, int64 (examples,).
        capacity: size of the batch, whatever the prefixes: zeros that belong to no session follow the last click, and
            clicks that do not fit are left out. None for the size the prefixes have, on the CPU; a GPU needs a
            capacity, because only the values tell that size.

    Returns:
        Items of the prefixes' clicks, int64 (clicks of the batch or capacity,); where each begins and the last ends,
        int64 (examples + 1,); targets, int64 (examples,).

    Raises:
        RuntimeError: on a wrong shape, dtype or device, a negative capacity, or none on a GPU.
    """
    if not library.has_kernel(clicks):
        return reference.prefix_batch(clicks, offsets, first_example, examples, capacity)
    return torch.ops.tagnn_fast.prefix_batch(clicks, offsets, first_example, examples, capacity)  # type: ignore[no-any-return]


@torch.library.register_fake("tagnn_fast::prefix_batch")
def _(
    clicks: Tensor, offsets: Tensor, first_example: Tensor, examples: Tensor, capacity: Optional[int] = None
) -> tuple[Tensor, Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size() if capacity is None else capacity
    return examples.new_empty(size), examples.new_empty(examples.shape[0] + 1), torch.empty_like(examples)
