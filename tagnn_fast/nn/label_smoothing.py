"""A share of each target that belongs to all items alike."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast.nn.repeats import Repeats, logits_of_targets, scores_of_each_row, scores_of_same_rows
from tagnn_fast.ops.graph import EncodedSessions

DRAWN = 64  # items of a batch


def smoothed_losses(
    losses: Tensor,
    encoded: EncodedSessions,
    table: Tensor,
    targets: Tensor,
    share: float,
    repeats: Optional[Repeats],
) -> Tensor:
    """Cross-entropy with a target of 1 - ε + ε / items, and ε / items for all others, without bias: float (sessions,).

    It is (1 - ε) (L - s_target) + ε (L - Σ_j s_j / items), with L = log Σ_j exp(s_j) (Szegedy et al., CVPR 2016,
    section 7): the cross-entropy without, and ε (s_target - mean_j s_j). That mean is taken over items drawn for each
    batch, since attention that depends on the item has no sum over all that is not as dear as the loss: losses and
    gradients are right on average.

    Args:
        losses: L - s_target, float (sessions,).
        encoded: the sessions.
        table: item vectors, float (items, hidden).
        targets: rows of the table, int64 (sessions,).
        share: ε.
        repeats: of the sessions; None if the network has no such.
    """
    items = table.shape[0]
    drawn = torch.randint(0, items, (DRAWN,), device=table.device)
    means = scores_of_same_rows(encoded, nn.functional.embedding(drawn, table)).mean(1)  # (sessions,)
    of_targets = scores_of_each_row(encoded, table, targets.unsqueeze(1)).squeeze(1)  # (sessions,)
    if repeats is not None:
        means = means + repeats.logits.sum(1) / items
        of_targets = of_targets + logits_of_targets(repeats, targets)
    return losses + share * (of_targets - means)
