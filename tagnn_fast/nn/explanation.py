"""What each click weighs in target attention (TAGNN, equation 8). TorchScript compiles it, torch.export follows it."""

import torch
from torch import Tensor

from tagnn_fast.nn.session_sums import session_of_slots, session_softmax, to_slots
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
    session = session_of_slots(encoded.slot_offsets, slots)
    vectors = table[targets.clamp(min=0)].to(encoded.keys.dtype)  # (sessions, hidden)
    logits = (encoded.keys * to_slots(vectors, session)).sum(1, keepdim=True)  # (slots, 1)
    weights = session_softmax(logits, encoded.click_counts, encoded.padding, session, sessions).squeeze(1)
    weights = weights * to_slots((targets >= 0).unsqueeze(1), session).squeeze(1)
    return torch.where(click_nodes >= 0, weights[click_nodes.clamp(min=0)], 0.0)
