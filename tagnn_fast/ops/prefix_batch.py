"""Training examples cut out of whole sessions: every proper prefix, with the click that follows as its target."""

from __future__ import annotations

import torch
from torch import Tensor


def prefix_batch(
    clicks: Tensor, offsets: Tensor, first_example: Tensor, examples: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A jagged batch of the examples asked for; on the CPU only, where data sets are.

    Examples are numbered session after session, each session's longest prefix first, as the field's files list them:
    example ``first_example[s] + j`` is session s without its last 1 + j clicks, its target the first of those. Any
    values are taken: numbers that are no example give an empty session and target 0.

    Args:
        clicks: item of each click of all sessions, int32 (clicks,).
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        first_example: number of each session's first example and of all examples, rising, int64 (sessions + 1,).
        examples: numbers of the examples, in any order, int64 (examples,).

    Returns:
        Items of the prefixes' clicks, int64 (clicks of the batch,); where each begins and the last ends, int64
        (examples + 1,); targets, int64 (examples,).

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    return torch.ops.tagnn_fast.prefix_batch(clicks, offsets, first_example, examples)  # type: ignore[no-any-return]


@torch.library.register_fake("tagnn_fast::prefix_batch")
def _(clicks: Tensor, offsets: Tensor, first_example: Tensor, examples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    return examples.new_empty(count), examples.new_empty(examples.shape[0] + 1), torch.empty_like(examples)
