"""What each click weighs in target attention (TAGNN, equation 8). TorchScript compiles it, torch.export follows it."""

import torch
from torch import Tensor

from tagnn_fast.ops.graph import EncodedSessions


def click_weights(encoded: EncodedSessions, click_nodes: Tensor, targets: Tensor, table: Tensor) -> Tensor:
    """Weight of each click in its session's attention for a target.

    Args:
        encoded: the sessions.
        click_nodes: slot of each click's node, int64 (clicks,); -1 for an unknown item.
        targets: a row of the table for each session, int64 (sessions,); -1 for an unknown item.
        table: item vectors, float (items, hidden).

    Returns:
        float (clicks,). A session's weights sum to 1, together with those of padded positions, if there are any. Clicks
        on unknown items weigh 0, and so do all for an unknown target.
    """
    slots, sessions = encoded.keys.shape[0], targets.shape[0]
    owner = torch.searchsorted(encoded.slot_offsets, torch.arange(slots, device=targets.device), right=True) - 1
    owner = owner.clamp(0, sessions - 1)
    vectors = table[targets.clamp(min=0)].to(encoded.keys.dtype)  # (sessions, hidden)
    logits = (encoded.keys * vectors.index_select(0, owner)).sum(1)
    logits = logits.masked_fill(encoded.click_counts == 0, -torch.inf)
    floor = torch.where(encoded.padding > 0, 0.0, -torch.inf).to(logits.dtype)
    largest = floor.scatter_reduce(0, owner, logits, "amax")
    terms = (logits - largest.index_select(0, owner)).exp()
    total = torch.zeros_like(floor).index_add(0, owner, terms * encoded.click_counts)
    # Without padding, largest may be far below 0, where this would be 0 times infinity.
    total = total + torch.where(encoded.padding > 0, encoded.padding * (-largest).exp(), 0.0)
    weights = terms / total.index_select(0, owner)
    weights = weights * (targets >= 0).index_select(0, owner)
    return torch.where(click_nodes >= 0, weights[click_nodes.clamp(min=0)], 0.0)
