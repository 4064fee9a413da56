"""Parts of the definitions in which no size depends on a value, for programs that hold no op of this package.

Sorting and compacting become comparisons of all clicks with all others: quadratic in the clicks of a batch, and made of
nothing but what every runtime has.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rising_offsets(offsets: Tensor, end: int) -> Tensor:
    """See :func:`tagnn_fast.ops.reference.rising_offsets`."""
    place = torch.arange(offsets.shape[0], device=offsets.device)
    inside = offsets.clamp(0, end)
    return torch.where(place.unsqueeze(0) <= place.unsqueeze(1), inside.unsqueeze(0), 0).amax(1)


def owners(offsets: Tensor, count: int) -> Tensor:
    """See :func:`tagnn_fast.ops.reference.owners`."""
    row = torch.arange(count, device=offsets.device).unsqueeze(1)
    session = (offsets.unsqueeze(0) <= row).sum(1) - 1  # (count,)
    return torch.where(session < 0, offsets.shape[0] - 1, session)


def neighbour_average(rows: Tensor, start: Tensor, count: Tensor, neighbours: Tensor) -> Tensor:
    """See :func:`tagnn_fast.ops.reference.neighbour_average`."""
    place = torch.arange(neighbours.shape[0], device=rows.device).unsqueeze(0)
    first = start.unsqueeze(1)
    listed = (place >= first) & (place < first + count.unsqueeze(1))  # (slots, clicks)
    return listed.to(rows.dtype) @ rows[neighbours] / count.clamp(min=1).unsqueeze(1)


def session_graph(items: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """See :func:`tagnn_fast.ops.reference.session_graph`, without padding."""
    clicks, sessions = items.shape[0], offsets.shape[0] - 1
    offsets = rising_offsets(offsets, clicks)
    session = owners(offsets, clicks)
    place = torch.arange(clicks, device=items.device)
    real = (items != 0) & (session < sessions)
    both_real = real.unsqueeze(0) & real.unsqueeze(1)
    together = (session.unsqueeze(0) == session.unsqueeze(1)) & both_real  # (clicks, clicks)
    same = together & (items.unsqueeze(0) == items.unsqueeze(1))

    # A node is its first click's; its slot is the session's first and as many as there are nodes before it.
    first = torch.where(same, place.unsqueeze(0), clicks).amin(1)
    is_first = real & (first == place)
    begin = torch.cat([offsets, offsets[-1:]])[session]
    before = together & (place.unsqueeze(0) < place.unsqueeze(1)) & is_first.unsqueeze(0)
    slot = begin + before.sum(1)
    click_slots = torch.where(real, slot[first.clamp(max=clicks - 1)], -1)
    holds = place.unsqueeze(1) == click_slots.unsqueeze(0)  # (slots, clicks)
    node_items = torch.where(holds & is_first.unsqueeze(0), items.unsqueeze(0), 0).sum(1)
    of_session = torch.arange(sessions, device=items.device).unsqueeze(1) == session.unsqueeze(0)  # (sessions, clicks)
    num_nodes = (of_session & is_first.unsqueeze(0)).sum(1)
    last = torch.where(of_session & real.unsqueeze(0), place.unsqueeze(0), -1).amax(1)
    last_node = torch.where(last < 0, -1, click_slots[last.clamp(min=0)])

    later = together & (place.unsqueeze(0) > place.unsqueeze(1))
    follower = torch.where(later, place.unsqueeze(0), clicks).amin(1)
    follows = follower.unsqueeze(1) == place.unsqueeze(0)  # (clicks, clicks)
    held = holds.float()
    edges = held @ follows.float() @ held.t() > 0  # from a slot to a slot
    owner = owners(offsets, clicks)  # of slots, which are as many as clicks
    first_slot = torch.cat([offsets, offsets[-1:]])[owner]
    starts, counts, lists = [], [], []
    for linked in (edges.t(), edges):  # in-neighbours, out-neighbours
        count = linked.sum(1)
        own = (owner.unsqueeze(0) == owner.unsqueeze(1)) & (place.unsqueeze(0) < place.unsqueeze(1))
        start = first_slot + torch.where(own, count.unsqueeze(0), 0).sum(1)
        end = first_slot + torch.cat([num_nodes, num_nodes.new_zeros(1)])[owner]
        is_node = (owner < sessions) & (place < end)
        among = torch.where(linked, start.unsqueeze(1) + linked.long().cumsum(1) - 1, clicks)  # each edge's place
        spread = items.new_zeros(clicks + 1).scatter_reduce(
            0, among.flatten(), place.unsqueeze(0).expand(clicks, -1).flatten(), "amax"
        )
        starts.append(torch.where(is_node, start, 0))
        counts.append(count)
        lists.append(spread[:-1])
    return (
        node_items,
        holds.sum(1),
        torch.stack(starts),
        torch.stack(counts),
        torch.stack(lists),
        click_slots,
        offsets,
        num_nodes,
        last_node,
        torch.zeros_like(num_nodes),
    )
