"""Item-item models: a session scores items by the rows of a sparse matrix that its own items have."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor


def item_item_topk(
    items: Tensor,
    offsets: Tensor,
    click_weights: Tensor,
    row_offsets: Tensor,
    columns: Tensor,
    values: Tensor,
    popular: Tensor,
    popularity_rank: Tensor,
    k: int,
    candidates: Optional[Tensor] = None,
    excluded: Optional[Tensor] = None,
    excluded_offsets: Optional[Tensor] = None,
) -> tuple[Tensor, Tensor]:
    """The best k items of each session by the weighted sum of the rows of its items; without gradient, on the CPU.

    score_j = Σ over clicks t of click_weights[t] · matrix[items[t], j]. A product that is not above 0 counts as 0.
    Equal scores stand by popularity: behind those above 0 come all other items, which score 0.

    Args:
        items: item indices of all clicks, int64 (clicks,); an index outside 1..items is a click to skip.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        click_weights: float64 (clicks,).
        row_offsets: of the sparse matrix: first entry of each item's row and the end of the last, int64 (items + 1,).
        columns: items of the entries, from 0, int32 (entries,).
        values: float32 (entries,).
        popular: all items from 0, most popular first, int64 (items,).
        popularity_rank: the place of each item there, int32 (items,). Of items that score 0, those that do not stand
            there are left out where there are no candidates, so that none is listed twice.
        k: length of the lists.
        candidates: see :func:`tagnn_fast.ops.target_attention_topk` for this and the others.
        excluded: the same.
        excluded_offsets: the same.

    Returns:
        Scores, float64, and items from 0, int64, both (sessions, k). Where fewer than k are left, the rest are -inf
        and -1.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    return torch.ops.tagnn_fast.item_item_topk(  # type: ignore[no-any-return]
        items, offsets, click_weights, row_offsets, columns, values, popular, popularity_rank, k,
        candidates, excluded, excluded_offsets,
    )  # fmt: skip


@torch.library.register_fake("tagnn_fast::item_item_topk")
def _(items: Tensor, offsets: Tensor, click_weights: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    shape = (offsets.shape[0] - 1, rest[5])
    return click_weights.new_empty(shape), items.new_empty(shape)
