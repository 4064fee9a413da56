"""Look-ups, cross-entropy and lists over an item table whose rows lie on the processes of a group.

Each process has sessions of its own, as many as it likes, also none, and calls the same functions at the same time. For
cross-entropy and lists every process gets all encoded sessions, goes through its own items, and the results are put
together; no process ever holds vectors of another's items, but for those that its own sessions clicked.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from tagnn_fast.ops import library, target_attention_topk
from tagnn_fast.ops.graph import EncodedSessions
from tagnn_fast.parallel.collectives import Group, exchange_rows, gather_parts, largest, scatter_sums
from tagnn_fast.parallel.item_shard import ItemShard


def look_up(rows: Tensor, items: Tensor, shard: ItemShard) -> Tensor:
    """Vectors of items, wherever they lie; the gradient goes back there.

    Args:
        rows: this process's rows of the item table, float (rows, hidden).
        items: ids in 0..num_items, int64 (any,); each is asked for once.
        shard: which rows these are.

    Returns:
        float (any, hidden).
    """
    vectors: Tensor = _LookUp.apply(rows, items, shard)  # type: ignore[no-untyped-call]
    return vectors


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, items: Tensor, shard: ItemShard) -> Tensor:
        wanted, places = items.unique(return_inverse=True)  # in rising order: process after process
        starts = torch.tensor(shard.starts[1:], device=items.device)
        sent = torch.bucketize(wanted, starts, right=True).bincount(minlength=shard.processes)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=shard.group)
        ctx.sent, ctx.received, ctx.shard, ctx.shape = sent.tolist(), received.tolist(), shard, rows.shape
        asked = exchange_rows(wanted, ctx.sent, ctx.received, shard.group) - shard.rows.start
        ctx.save_for_backward(places, asked)
        return exchange_rows(rows[asked], ctx.received, ctx.sent, shard.group)[places]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        places, asked = ctx.saved_tensors
        sums = grad.new_zeros((sum(ctx.sent), grad.shape[1])).index_add_(0, places, grad)
        arrived = exchange_rows(sums, ctx.sent, ctx.received, ctx.shard.group)
        # Sparse: it is added to the dense gradient of the scores in place, and there is one table less in memory.
        gradient = torch.sparse_coo_tensor(asked.unsqueeze(0), arrived, ctx.shape, check_invariants=True)
        return gradient, None, None


def cross_entropy(encoded: EncodedSessions, table: Tensor, targets: Tensor, shard: ItemShard) -> Tensor:
    """Cross-entropy of each of this process's sessions over the whole catalogue.

    The processes' sums are put together, three float64 numbers a session; from the sum over all follow the gradients of
    each one's items, which stay, and of the sessions, which are summed where the sessions are.

    Args:
        encoded: this process's sessions.
        table: vectors of this process's items, float (items, hidden).
        targets: the item, from 0 in the whole catalogue, that follows each session, int64 (sessions,).
        shard: which items these are.

    Returns:
        float (sessions,); NaN for a target outside the catalogue.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
    """
    session, keys, values = (value.to(table.dtype) for value in encoded[:3])
    precision = library.precision(table.device.type)
    arguments = session, keys, values, *encoded[3:], table, targets, shard, precision
    losses: Tensor = _CrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        session: Tensor,
        keys: Tensor,
        values: Tensor,
        click_counts: Tensor,
        padding: Tensor,
        slot_offsets: Tensor,
        table: Tensor,
        targets: Tensor,
        shard: ItemShard,
        precision: int,
    ) -> Tensor:
        rooms = largest([session.shape[0], keys.shape[0]], session.device, shard.group)
        encoded = EncodedSessions(session, keys, values, click_counts, padding, slot_offsets)
        sessions, targets = _gather(encoded, rooms, shard.group, [(targets, rooms[0], -1)])
        here = targets - shard.first_item
        op = torch.ops.tagnn_fast.target_attention_cross_entropy
        losses, normalizer = op(*sessions, table, here, precision)
        losses, normalizer = _put_together(losses, normalizer, (here >= 0) & (here < table.shape[0]), shard.group)
        losses[(targets < 0) | (targets >= shard.num_items)] = torch.nan
        ctx.save_for_backward(*sessions, table, here, normalizer)
        ctx.rooms, ctx.shard, ctx.precision, ctx.own = rooms, shard, precision, (session.shape[0], keys.shape[0])
        return losses[shard.rank * rooms[0] :][: session.shape[0]].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (sessions, slots), (own_sessions, own_slots), group = ctx.rooms, ctx.own, ctx.shard.group
        (grads,) = gather_parts([grad], [sessions], group)
        op = torch.ops.tagnn_fast.target_attention_cross_entropy_backward
        *of_sessions, of_table = op(grads, *ctx.saved_tensors, ctx.precision)
        session, keys, values = scatter_sums(of_sessions, [sessions, slots, slots], group)
        own = session[:own_sessions], keys[:own_slots], values[:own_slots]
        return *own, None, None, None, of_table, None, None, None


def topk(
    encoded: EncodedSessions,
    table: Tensor,
    k: int,
    shard: ItemShard,
    candidates: Tensor | None = None,
    excluded: Tensor | None = None,
    excluded_offsets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The best k items of each of this process's sessions: best first, equal scores by item; without gradient.

    They are what :func:`tagnn_fast.ops.target_attention_topk` gives for the sessions of all processes in one batch and
    the whole table, to the bit.

    Args:
        encoded: this process's sessions.
        table: vectors of this process's items, float (items, hidden).
        k: length of the lists.
        shard: which items these are.
        candidates: the only items to choose from, from 0 in the whole catalogue, int64 (any,); None for all. As `k`,
            the same on all processes.
        excluded: items that a session of this process must not get, session after session, int64 (any,).
        excluded_offsets: first of each session's and the end of the last, int64 (sessions + 1,).

    Returns:
        Scores, float, and items, int64, both (sessions, k). Where fewer than k are left, the rest are -inf and -1.

    Raises:
        RuntimeError: on a wrong shape, dtype or device.
        ValueError: where processes have different `k` or candidates.
    """
    session, group, first = encoded.session.detach(), shard.group, shard.first_item
    session, keys, values = (value.detach().to(table.dtype) for value in encoded[:3])
    if excluded is None or excluded_offsets is None:
        excluded, excluded_offsets = encoded.padding[:0], torch.zeros_like(encoded.slot_offsets)
    choice = [k, -1 if candidates is None else zlib.crc32(candidates.cpu().numpy().tobytes())]
    numbers = [session.shape[0], keys.shape[0], excluded.shape[0], *choice, *(-number for number in choice)]
    *rooms, most_k, most_choice, least_k, least_choice = largest(numbers, session.device, group)
    if most_k != -least_k or most_choice != -least_choice:
        raise ValueError(
            f"{'k' if most_k != -least_k else 'candidates'}: expected the same on all processes, got others"
        )
    more = [(excluded, rooms[2], -1), (excluded_offsets[:-1], rooms[0], excluded.shape[0])]
    sessions, excluded, starts = _gather(EncodedSessions(session, keys, values, *encoded[3:]), rooms[:2], group, more)
    excluded_offsets = _offsets(starts, rooms[2], shard.processes)
    scores, rows = target_attention_topk(
        sessions,
        table.detach(),
        k,
        None if candidates is None else candidates - first,
        excluded - first if rooms[2] else None,
        excluded_offsets if rooms[2] else None,
    )
    items = torch.where(rows < 0, -1, rows + first)
    even = [rooms[0]] * shard.processes
    lists = [
        exchange_rows(value, even, even, group)
        .unflatten(0, (shard.processes, rooms[0]))[:, : session.shape[0]]
        .transpose(0, 1)
        for value in (scores, items)
    ]
    return merge_lists(lists[0].flatten(1), lists[1].flatten(1), k)


def merge_lists(scores: Tensor, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best k of each session's lists, one beside the other, in the order of :func:`topk`.

    Args:
        scores: float (sessions, any).
        items: int64 (sessions, any); -1 where a list has ended, which comes last.
        k: at most so many as there are.

    Returns:
        Scores and items, both (sessions, k).
    """
    last = torch.iinfo(torch.int64).max
    order = torch.where(items < 0, last, items).argsort(dim=1, stable=True)
    order = order.gather(1, scores.gather(1, order).sort(dim=1, descending=True, stable=True)[1][:, :k])
    return scores.gather(1, order), items.gather(1, order)


def _gather(
    encoded: EncodedSessions, rooms: list[int], group: Group, more: list[tuple[Tensor, int, int]]
) -> tuple[Any, ...]:
    """All processes' sessions, and more integers, each with its room and what to fill it with: in two messages.

    Each process has room for as many sessions and slots as any other: after its own there are empty sessions, and slots
    without clicks, which take no part. So no size depends on where the sessions are.
    """
    session, keys, values, click_counts, padding, slot_offsets = encoded
    sessions, slots = rooms
    of_nobody = torch.arange(keys.shape[0], device=keys.device) >= slot_offsets[-1]
    click_counts = click_counts.masked_fill(of_nobody, 0)
    integers = [(click_counts, slots, 0), (padding, sessions, 0), (slot_offsets[:-1], sessions, keys.shape[0]), *more]
    session, keys, values = gather_parts([session, keys, values], [sessions, slots, slots], group)
    parts, part_rooms, fills = zip(*integers, strict=True)
    click_counts, padding, starts, *others = gather_parts(parts, part_rooms, group, fills)
    offsets = _offsets(starts, slots, dist.get_world_size(group))
    return EncodedSessions(session, keys, values, click_counts, padding, offsets), *others


def _offsets(starts: Tensor, room: int, processes: int) -> Tensor:
    """Where each session's part begins in what was gathered, and the end, given where it begins in its process's."""
    before = room * torch.arange(processes + 1, device=starts.device)
    return torch.cat([(starts.unflatten(0, (processes, -1)) + before[:-1].unsqueeze(1)).flatten(), before[-1:]])


def _put_together(losses: Tensor, normalizer: Tensor, is_here: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Losses and normalisers over the whole catalogue, of those over each process's items."""
    most, logarithm = normalizer.double().unbind(1)
    target_score = torch.where(is_here, most + logarithm - losses, 0.0)  # of one process, which knows it to the bit
    all_most = most.clone()
    dist.all_reduce(all_most, dist.ReduceOp.MAX, group=group)
    sums = torch.stack([(most - all_most + logarithm).exp(), target_score])
    dist.all_reduce(sums, group=group)
    logarithm = sums[0].log()
    losses = (all_most - sums[1] + logarithm).to(losses.dtype)
    return losses, torch.stack([all_most, logarithm], 1).to(normalizer.dtype)
