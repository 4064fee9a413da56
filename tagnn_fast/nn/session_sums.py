"""Sums over the slots of each session, in plain PyTorch. TorchScript compiles them, torch.export follows them."""

from typing import Optional

import torch
from torch import Tensor


def session_of_slots(slot_offsets: Tensor, slots: int) -> Tensor:
    """The session that each slot belongs to, from 0, int64 (slots,); their number for slots behind the last."""
    numbers = torch.arange(slots, device=slot_offsets.device)
    return torch.searchsorted(slot_offsets, numbers, right=True) - 1


def to_slots(values: Tensor, session: Tensor) -> Tensor:
    """The values of each slot's session, (slots, any) from (sessions, any); zeros for slots of none."""
    return torch.cat([values, values.new_zeros((1, values.shape[1]))]).index_select(0, session)


def session_sums(values: Tensor, session: Tensor, sessions: int) -> Tensor:
    """Of the slots of each session, (sessions, any) from (slots, any)."""
    return values.new_zeros((sessions + 1, values.shape[1])).index_add(0, session, values)[:sessions]


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
    logits = logits.masked_fill(counted == 0, -torch.inf)
    floor = logits.new_full((sessions + 1, logits.shape[1]), -torch.inf)
    if padding is None:
        more = counts.new_zeros((sessions + 1, 1))
    else:
        more = torch.cat([padding, padding.new_zeros(1)]).unsqueeze(1)  # (sessions + 1, 1)
    floor = torch.where(more > 0, 0.0, floor)
    largest = floor.scatter_reduce(0, session.unsqueeze(1).expand_as(logits), logits.detach(), "amax")
    largest = torch.where(largest == -torch.inf, 0.0, largest)  # of a session of which no slot counts
    terms = (logits - largest.index_select(0, session)).exp()
    total = torch.zeros_like(largest).index_add(0, session, terms * counted)
    # Without padding, largest may be far below 0, where this would be 0 times infinity.
    total = total + torch.where(more > 0, more * (-largest).exp(), 0.0)
    return terms / torch.where(total == 0, 1.0, total).index_select(0, session)
