"""Sums over the slots of each session, in plain PyTorch. TorchScript compiles them, torch.export follows them."""

from typing import Optional

import torch
from torch import Tensor


def session_of_slots(slot_offsets: Tensor, slots: int) -> Tensor:
    """The session that each slot belongs to, from 0, int64 (slots,); the last one's for slots behind it."""
    numbers = torch.arange(slots, device=slot_offsets.device)
    session = torch.searchsorted(slot_offsets, numbers, right=True) - 1
    return session.clamp(0, slot_offsets.shape[0] - 2)


def session_softmax(
    logits: Tensor, counts: Tensor, padding: Optional[Tensor], session: Tensor, sessions: int
) -> Tensor:
    """exp(logit) of each slot, divided by the sum of count · exp(logit) in its session: float (slots, any).

    Args:
        logits: float (slots, any), a softmax for each column.
        counts: how often each slot counts, int64 (slots,); slots of count 0 get 0.
        padding: further terms of logit 0 in each session's sum, int64 (sessions,); None for none.
        session: of each slot, int64 (slots,).
        sessions: their number.
    """
    counted = counts.unsqueeze(1)
    columns = session.unsqueeze(1).expand_as(logits)
    logits = logits.masked_fill(counted == 0, -torch.inf)
    floor = torch.full((sessions, logits.shape[1]), -torch.inf, dtype=logits.dtype, device=logits.device)
    if padding is not None:
        floor = torch.where((padding > 0).unsqueeze(1), 0.0, floor)
    largest = floor.scatter_reduce(0, columns, logits.detach(), "amax")
    largest = torch.where(largest == -torch.inf, 0.0, largest)  # of a session of which no slot counts
    terms = (logits - largest.index_select(0, session)).exp()
    total = torch.zeros_like(largest).index_add(0, session, terms * counted)
    if padding is not None:
        # Where there is none, largest may be far below 0, where this would be 0 times infinity.
        padded = padding.unsqueeze(1)
        total = total + torch.where(padded > 0, padded * (-largest).exp(), 0.0)
    return terms / torch.where(total == 0, 1.0, total).index_select(0, session)


def session_sums(values: Tensor, session: Tensor, sessions: int) -> Tensor:
    """Of the slots of each session, float (sessions, any) from (slots, any)."""
    return torch.zeros((sessions, values.shape[1]), dtype=values.dtype, device=values.device).index_add(
        0, session, values
    )
