"""Which items sessions have clicked among their last clicks, how often, and how long ago."""

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference


def session_repeats(items: Tensor, offsets: Tensor, places: int, counts: int) -> tuple[Tensor, Tensor]:
    """The items of each session's last clicks, and where a logit for them stands in a table by count and place.

    Args:
        items: int64 (clicks,); those below 1 are skipped and have no place.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        places: last clicks of a session that are looked at, 1 to 64.
        counts: clicks on an item that are told apart, 1 to 64; more are as good as so many.

    Returns:
        Both int64 (sessions, places), -1 where the click at that place from the end is not there, or its item has a
        later one. Rows: its item - 1. Cells: (clicks on the item among these, at most `counts`, less 1) * places + the
        place, from 0.

    Raises:
        RuntimeError: on a wrong shape or dtype, places or counts.
    """
    if library.native_on_cpu(items):
        rows, cells = torch.ops.tagnn_fast.session_repeats(items, offsets, places, counts)
        return rows, cells
    return plain_session_repeats(items, offsets, places, counts)


def plain_session_repeats(items: Tensor, offsets: Tensor, places: int, counts: int) -> tuple[Tensor, Tensor]:
    """The definition: no size depends on values, so that it can be traced and recorded."""
    for name, value in (("places", places), ("counts", counts)):
        if not 1 <= value <= 64:
            raise RuntimeError(f"{name}: expected 1 to 64, got {value}")
    recent = _last_clicks(items, offsets, places)
    same = recent.unsqueeze(2) == recent.unsqueeze(1)  # (sessions, places, places)
    clicked_later = same.tril(-1).any(2)
    place = torch.arange(places, device=items.device)
    count = same.triu().sum(2).clamp(max=counts)  # (sessions, places)
    known = (recent > 0) & ~clicked_later
    return torch.where(known, recent - 1, -1), torch.where(known, (count - 1) * places + place, -1)


def _last_clicks(items: Tensor, offsets: Tensor, places: int) -> Tensor:
    """Items of each session's last known clicks, the last one first, int64 (sessions, places); 0 for none."""
    sessions, known = offsets.shape[0] - 1, items > 0
    if torch.jit.is_scripting():
        offsets = offsets.clamp(0, items.shape[0]).cummax(0).values
    else:
        offsets = reference.rising_offsets(offsets, items.shape[0])
    count = torch.cat([offsets.new_zeros(1), known.long().cumsum(0)])  # before each click, and at the end
    numbers = torch.arange(items.shape[0], device=items.device)
    session = torch.searchsorted(offsets, numbers, right=True)  # from 1; clicks behind the last have one more
    place = count[offsets[session.clamp(max=sessions)]] - count[1:]
    kept = known & (session >= 1) & (session <= sessions) & (place < places)
    spare = sessions * places  # where all others go
    cells = torch.where(kept, (session - 1) * places + place, spare)
    recent = torch.zeros(spare + 1, dtype=torch.int64, device=items.device).scatter(0, cells, items)
    return recent[:-1].view(sessions, places)


@torch.library.register_fake("tagnn_fast::session_repeats")
def _(items: Tensor, offsets: Tensor, places: int, counts: int) -> tuple[Tensor, Tensor]:
    shape = (offsets.shape[0] - 1, places)
    return items.new_empty(shape), items.new_empty(shape)
