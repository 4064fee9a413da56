"""Target attention in plain PyTorch on nodes padded to the largest session: nothing of (sessions, items, hidden)."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_nodes(clicks: Tensor, slot_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Slot of every node, int64 (sessions, most slots), 0 where there is none; log of its clicks, -inf without."""
    lengths = slot_offsets.diff()
    within = torch.arange(int(lengths.max()), device=clicks.device)  # (most slots,)
    place = slot_offsets[:-1].unsqueeze(1) + within
    exists = within < lengths.unsqueeze(1)
    place = torch.where(exists, place, 0)
    return place, torch.where(exists, clicks[place], 0).float().log()


def node_scores(
    session: Tensor, keys: Tensor, values: Tensor, mask: Tensor, table: Tensor, own_item: bool = False
) -> Tensor:
    """Scores without the published code's (sessions, items, hidden): the attended vector is never made.

    Args:
        session: session vectors, (sessions, hidden).
        keys: W_t h of each node, (sessions, nodes, hidden).
        values: h of each node, (sessions, nodes, hidden).
        mask: log of a node's clicks, (sessions, nodes); -inf where there is none.
        table: item vectors, (items, hidden), or with own_item one for each session.
        own_item: score that one alone, (sessions,).
    """
    if own_item:
        logits, products = ((rows * table.unsqueeze(1)).sum(2) for rows in (keys, values))  # (sessions, nodes)
        return (session * table).sum(1) + ((logits + mask).softmax(1) * products).sum(1)
    logits = (keys @ table.t()).float() + mask.unsqueeze(2)  # (sessions, nodes, items)
    return session @ table.t() + (logits.softmax(1) * (values @ table.t())).sum(1)


def node_log_sum_exp(session: Tensor, keys: Tensor, values: Tensor, mask: Tensor, table: Tensor) -> Tensor:
    """Logarithm of Σ exp of those scores, (sessions,)."""
    return node_scores(session, keys, values, mask, table).float().logsumexp(1)
