"""What every op computes, in plain PyTorch: the definition, the oracle of the tests, and the fallback without a kernel.

Slow where clarity asks for it. PyTorch differentiates all of it. Any values: item 0 is skipped, sessions may be empty.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tagnn_fast.ops import reference_traced
from tagnn_fast.ops.graph import (
    AttentionParameters,
    EncodedSessions,
    PropagationParameters,
    ReadoutParameters,
    SessionGraph,
    encoded_sessions,
    places_from_the_end,
)
from tagnn_fast.ops.reference_philox import philox


def rising_offsets(offsets: Tensor, end: int) -> Tensor:
    """Offsets made to rise inside 0..end, whatever they hold: int64 (sessions + 1,)."""
    if torch.compiler.is_compiling():
        return reference_traced.rising_offsets(offsets, end)
    return offsets.clamp(0, end).cummax(0).values


def owners(offsets: Tensor, count: int) -> Tensor:
    """Session of each of `count` rows, int64 (count,); the number of sessions for rows that belong to none."""
    if torch.compiler.is_compiling():
        return reference_traced.owners(offsets, count)
    session = torch.searchsorted(offsets, torch.arange(count, device=offsets.device), right=True) - 1
    return torch.where(session < 0, offsets.shape[0] - 1, session)


def is_node(slot_offsets: Tensor, num_nodes: Tensor, slots: int) -> Tensor:
    """Whether each slot holds a node, bool (slots,)."""
    owner = owners(slot_offsets, slots)
    end = torch.cat([slot_offsets[:-1] + num_nodes, num_nodes.new_zeros(1)])  # 0 for slots of no session
    return torch.arange(slots, device=owner.device) < end[owner]


def prefix_batch(
    clicks: Tensor, offsets: Tensor, first_example: Tensor, examples: Tensor, capacity: Optional[int] = None
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`tagnn_fast.ops.prefix_batch`."""
    sessions = offsets.shape[0] - 1
    offsets = offsets.clamp(0, clicks.shape[0])
    session = torch.searchsorted(first_example, examples, right=True) - 1
    known = (session >= 0) & (session < sessions)
    session = torch.where(known, session, 0)
    begin, end = torch.cat([offsets, offsets[-1:]])[session], torch.cat([offsets[1:], offsets[-1:]])[session]
    lengths = torch.where(known, end - begin - 1 - (examples - first_example[session]), 0).clamp(min=0)
    targets = torch.cat([clicks, clicks.new_zeros(1)])[torch.where(lengths > 0, begin + lengths, clicks.shape[0])]
    batch_offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    if capacity is not None:
        batch_offsets = batch_offsets.clamp(max=capacity)
    used = int(batch_offsets[-1])
    place = torch.arange(used, device=clicks.device)
    example = torch.arange(examples.shape[0], device=clicks.device).repeat_interleave(batch_offsets.diff())
    items = examples.new_zeros(used if capacity is None else capacity)
    items[:used] = clicks[begin[example] + place - batch_offsets[example]].long()
    return items, batch_offsets, targets.long()


def session_graph(items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> tuple[Tensor, ...]:
    """See :func:`tagnn_fast.ops.session_graph`; the fields of ``SessionGraph`` in order."""
    padded = padded_length is not None
    if torch.compiler.is_compiling() and not padded:
        return reference_traced.session_graph(items, offsets)
    clicks, sessions = items.shape[0], offsets.shape[0] - 1
    offsets = rising_offsets(offsets, clicks)
    slot_offsets = offsets + torch.arange(sessions + 1, device=items.device) if padded else offsets
    slots = clicks + sessions if padded else clicks

    session = owners(offsets, clicks)
    real = (items != 0) & (session < sessions)
    position = torch.nonzero(real).flatten()  # (real clicks,)
    session, item = session[position], items[position]
    lengths = torch.bincount(session, minlength=sessions)[:sessions]
    padding = torch.where(lengths > 0, (padded_length or 0) - lengths, 0).clamp(min=0)

    # Nodes are the distinct (session, item), sorted by item or by first click within the session.
    pairs, node = torch.unique(torch.stack([session, item]), dim=1, return_inverse=True)
    if not padded:
        first = torch.full((pairs.shape[1],), clicks, device=items.device).scatter_reduce(0, node, position, "amin")
        order = first.argsort()
        node, pairs = order.argsort()[node], pairs[:, order]
    distinct = torch.bincount(pairs[0], minlength=sessions)[:sessions]
    has_padding = (padding > 0).long()
    within = torch.arange(pairs.shape[1], device=items.device) - (distinct.cumsum(0) - distinct)[pairs[0]]
    slot = slot_offsets[pairs[0]] + has_padding[pairs[0]] + within  # (nodes,)

    node_items = items.new_zeros(slots).index_put((slot,), pairs[1])
    click_slots = slot[node]
    node_clicks = torch.bincount(click_slots, minlength=slots)
    click_nodes = torch.full_like(items, -1).index_put((position,), click_slots)
    last_click = lengths.cumsum(0) - 1
    last_node = torch.full_like(lengths, -1)
    last_node[lengths > 0] = click_slots[last_click[lengths > 0]]
    num_nodes = distinct + has_padding

    # Edges are the distinct pairs of consecutive clicks; lists are sorted by node, each session's from its first click.
    follows = session[1:] == session[:-1]
    edges = torch.unique(torch.stack([click_slots[:-1][follows], click_slots[1:][follows]]), dim=1)
    owner = owners(slot_offsets, slots)
    starts, counts, lists = [], [], []
    for own, other in ((1, 0), (0, 1)):  # in-neighbours of the second end, out-neighbours of the first
        order = (edges[own] * (slots + 1) + edges[other]).argsort()
        count = torch.bincount(edges[own], minlength=slots)
        before = torch.cat([count.new_zeros(1), count.cumsum(0)])  # edges of all earlier slots
        start = offsets[owner] + before[:-1] - before[slot_offsets[owner]]
        starts.append(torch.where(is_node(slot_offsets, num_nodes, slots), start, 0))
        counts.append(count)
        edge_owner = owner[edges[own]][order]
        place = offsets[edge_owner] + torch.arange(order.shape[0], device=items.device)
        place = place - before[slot_offsets[edge_owner]]
        lists.append(items.new_zeros(clicks).index_put((place,), edges[other][order]))
    return (
        node_items,
        node_clicks,
        torch.stack(starts),
        torch.stack(counts),
        torch.stack(lists),
        click_nodes,
        slot_offsets,
        num_nodes,
        last_node,
        padding,
    )


def neighbour_average(rows: Tensor, start: Tensor, count: Tensor, neighbours: Tensor) -> Tensor:
    """Mean of each slot's neighbours' rows, (slots, width); zero where there are none."""
    if torch.compiler.is_compiling():
        return reference_traced.neighbour_average(rows, start, count, neighbours)
    slots = rows.shape[0]
    receiver = torch.arange(slots, device=rows.device).repeat_interleave(count)  # (edges,)
    rank = torch.arange(receiver.shape[0], device=rows.device) - (count.cumsum(0) - count)[receiver]
    sender = neighbours[start[receiver] + rank]
    total = torch.zeros_like(rows).index_add(0, receiver, rows[sender])
    return total / count.clamp(min=1).unsqueeze(1)


def gated_propagation(
    nodes: Tensor,
    graph: SessionGraph,
    state_weight: Tensor,
    state_bias: Tensor,
    message_bias: Tensor,
    weight_ih: Tensor,
    bias_ih: Tensor,
    rounds: int = 1,
) -> Tensor:
    """See :func:`tagnn_fast.ops.gated_propagation`."""
    real = is_node(graph.slot_offsets, graph.num_nodes, nodes.shape[0]).unsqueeze(1)
    nodes = torch.where(real, nodes, 0.0)
    for _ in range(rounds):
        products = torch.addmm(state_bias, nodes, state_weight.t())  # (slots, 5 hidden)
        incoming, outgoing, state_reset, state_update, state_new = products.chunk(5, 1)
        averages = [
            neighbour_average(incoming, graph.neighbour_start[0], graph.neighbour_count[0], graph.neighbours[0]),
            neighbour_average(outgoing, graph.neighbour_start[1], graph.neighbour_count[1], graph.neighbours[1]),
        ]
        messages = torch.cat(averages, 1) + message_bias  # (slots, 2 hidden)
        input_reset, input_update, input_new = torch.addmm(bias_ih, messages, weight_ih.t()).chunk(3, 1)
        reset = torch.sigmoid(input_reset + state_reset)
        update = torch.sigmoid(input_update + state_update)
        candidate = torch.tanh(input_new + reset * state_new)
        nodes = torch.where(real, candidate + update * (nodes - candidate), 0.0)
    return nodes


def dropout_factors(offsets: Tensor, slots: int, heads: int, dropout: float, seed: Tensor) -> Tensor:
    """Factor of each attention weight, 0 or 1 / (1 - dropout): float64 (heads, query slots, key slots)."""
    slot = torch.arange(slots, device=seed.device)
    within = slot - offsets[owners(offsets, slots)]
    query, key = slot.view(1, -1, 1), within.clamp(min=0).view(1, 1, -1)
    head = torch.arange(heads, device=seed.device).view(-1, 1, 1)
    words = torch.stack(torch.broadcast_tensors(*philox(seed, (query & 0xFFFFFFFF, key // 4, head, query >> 32))))
    word = words.gather(0, (key % 4).expand(1, heads, slots, slots)).squeeze(0)
    return (word >= int(dropout * 2**32)).double() / (1 - dropout)


def session_attention(
    nodes: Tensor,
    graph: SessionGraph,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm_weight: Optional[Tensor],
    norm_bias: Optional[Tensor],
    heads: int,
    causal: bool = True,
    dropout: float = 0.0,
    seed: Optional[Tensor] = None,
) -> Tensor:
    """See :func:`tagnn_fast.ops.session_attention`: dense over all slots of the batch, other sessions masked out."""
    slots, hidden = nodes.shape
    real = is_node(graph.slot_offsets, graph.num_nodes, slots)
    nodes = torch.where(real.unsqueeze(1), nodes, 0.0)
    qkv = torch.addmm(qkv_bias, nodes, qkv_weight.t())  # (slots, 3 hidden)
    queries, keys, values = (part.reshape(slots, heads, hidden // heads).transpose(0, 1) for part in qkv.chunk(3, 1))
    owner = torch.where(real, owners(graph.slot_offsets, slots), -1)
    seen = (owner.unsqueeze(1) == owner.unsqueeze(0)) & real  # (query slots, key slots)
    if causal:
        seen = seen.tril()
    logits = queries @ keys.transpose(1, 2) / (hidden // heads) ** 0.5
    logits = logits.masked_fill(~seen, -torch.inf).masked_fill(~real.unsqueeze(1), 0.0)  # (heads, slots, slots)
    weights = logits.softmax(2)
    if dropout > 0:
        if seed is None:
            raise RuntimeError("seed: expected an int64 (1,) tensor where dropout is used, got None")
        weights = weights * dropout_factors(graph.slot_offsets, slots, heads, dropout, seed).to(weights.dtype)
    attended = (weights @ values).transpose(0, 1).reshape(slots, hidden)
    out = torch.addmm(out_bias, attended, out_weight.t())
    if norm_weight is not None:
        out = out + torch.layer_norm(nodes, [hidden], norm_weight, norm_bias)
    return torch.where(real.unsqueeze(1), out, 0.0)


def session_sums(rows: Tensor, owner: Tensor, sessions: int) -> Tensor:
    """Sum of each session's rows, (sessions, width)."""
    return rows.new_zeros((sessions + 1, rows.shape[1])).index_add(0, owner, rows)[:sessions]


def session_maxima(rows: Tensor, slot_offsets: Tensor, floor: Tensor) -> Tensor:
    """Largest of each session's rows and its floor (sessions, 1), without gradient: (sessions + 1, width).

    0 where both are minus infinity, and in the last row, which is for slots of no session.
    """
    owner = owners(slot_offsets, rows.shape[0]).unsqueeze(1).expand(-1, rows.shape[1])
    floor = torch.cat([floor.expand(-1, rows.shape[1]), rows.new_zeros((1, rows.shape[1]))])
    largest = floor.scatter_reduce(0, owner, rows.detach(), "amax")[:-1]
    largest = torch.where(largest == -torch.inf, 0.0, largest)
    return torch.cat([largest, largest.new_zeros((1, rows.shape[1]))])


def session_readout(
    nodes: Tensor,
    graph: SessionGraph,
    query_weight: Tensor,
    query_bias: Tensor,
    key_weight: Tensor,
    key_bias: Tensor,
    logit_weight: Tensor,
    normalize: bool = True,
) -> tuple[Tensor, Tensor]:
    """See :func:`tagnn_fast.ops.session_readout`."""
    slots, sessions = nodes.shape[0], graph.num_nodes.shape[0]
    owner = owners(graph.slot_offsets, slots)
    nobody = nodes.new_zeros((1, nodes.shape[1]))
    last_click = torch.cat([nodes, nobody])[torch.where(graph.last_node < 0, slots, graph.last_node)]

    query = torch.cat([torch.addmm(query_bias, last_click, query_weight.t()), nobody]).index_select(0, owner)
    key = torch.addmm(key_bias, nodes, key_weight.t())
    logits = (torch.sigmoid(query + key) @ logit_weight).unsqueeze(1)  # (slots, 1)

    # The padded positions share the padding node's logit; they carry no value.
    is_padding = torch.zeros_like(graph.click_counts)
    is_padding[graph.slot_offsets[:-1][graph.padding > 0]] = 1
    padded = torch.cat([graph.padding, graph.padding.new_zeros(1)])[owner] * is_padding
    positions = torch.where(is_padding == 1, padded, graph.click_counts).unsqueeze(1)
    values = nodes * (is_padding == 0).unsqueeze(1)
    if not normalize:
        return session_sums(positions * logits * values, owner, sessions), last_click
    masked = logits.masked_fill(positions == 0, -torch.inf)
    largest = session_maxima(masked, graph.slot_offsets, logits.new_full((sessions, 1), -torch.inf))
    terms = positions * (masked - largest[owner]).exp()
    total = session_sums(terms, owner, sessions)
    pooled = session_sums(terms * values, owner, sessions) / torch.where(total == 0, 1.0, total)
    return pooled, last_click


def encode_sessions(
    items: Tensor,
    offsets: Tensor,
    padded_length: Optional[int],
    item_vectors: Tensor,
    propagation: PropagationParameters,
    attention: Optional[AttentionParameters],
    readout: ReadoutParameters,
    target_weight: Tensor,
    recency: Optional[Tensor] = None,
    lengths: Optional[tuple[float, float]] = None,
) -> EncodedSessions:
    """See :func:`tagnn_fast.ops.encode_sessions`."""
    graph = SessionGraph(*session_graph(items, offsets, padded_length))
    nodes = gated_propagation(item_vectors.index_select(0, graph.node_items), graph, *propagation)
    if recency is not None:
        nodes = nodes + recency[places_from_the_end(graph, recency.shape[0])]
    if attention is not None:
        nodes = session_attention(nodes, graph, *attention)
    session, last_click = session_readout(nodes, graph, *readout[:6])
    if readout.hybrid_weight is not None and readout.hybrid_bias is not None:
        session = torch.cat([session, last_click], 1) @ readout.hybrid_weight.t() + readout.hybrid_bias
    keys = nodes @ target_weight.t()
    if lengths is not None:
        session, nodes = (row / row.norm(dim=1, keepdim=True).clamp(min=1e-6) for row in (session, nodes))
        session, nodes = lengths[0] * session, lengths[1] * nodes
    return encoded_sessions(session, keys, nodes, graph)


def _scores(encoded: EncodedSessions, table: Tensor, own_item: bool) -> Tensor:
    """Scores of each session for all rows of `table`, (sessions, items); or, with own_item, for its own row (, 1)."""
    session, keys, values, click_counts, padding, slot_offsets = encoded
    sessions, owner = session.shape[0], owners(slot_offsets, click_counts.shape[0])
    table = table.to(torch.promote_types(table.dtype, session.dtype))  # for bfloat16 tables
    if own_item:
        rows = torch.cat([table, table.new_zeros((1, table.shape[1]))]).index_select(0, owner)
        direct = (session * table).sum(1, keepdim=True)
        logits, values = (keys * rows).sum(1, keepdim=True), (values * rows).sum(1, keepdim=True)
    else:
        direct = session @ table.t()  # (sessions, items)
        logits, values = keys @ table.t(), values @ table.t()  # (slots, items)
    click_counts, padding = click_counts.unsqueeze(1), padding.unsqueeze(1)
    # Under autocast products, and session vectors made by one, are bfloat16; what follows is not.
    direct, logits, values = direct.to(table.dtype), logits.to(table.dtype), values.to(table.dtype)
    logits = logits + torch.where(click_counts <= 0, -torch.inf, 0.0).to(logits.dtype)  # faster than masked_fill
    # Padded positions have logit 0 and value 0.
    floor = torch.where(padding > 0, 0.0, -torch.inf).to(logits.dtype)
    largest = session_maxima(logits, slot_offsets, floor)  # (sessions + 1, items)
    # Terms beside a largest one of 1: below e^-60 they change nothing, and exp is 25 times slower where it underflows.
    terms = click_counts.clamp(min=0) * (logits - largest.index_select(0, owner)).clamp(min=-60).exp()
    # The clamp changes nothing where there is padding: the largest is at least the padding's 0.
    total = session_sums(terms, owner, sessions) + padding * (-largest[:sessions].clamp(min=0)).exp()
    attended = session_sums(terms * values, owner, sessions)
    return direct + attended / torch.where(total == 0, 1.0, total)


def _chunk_items(slots: int, items: int) -> int:
    """Items per chunk: the largest temporary, (slots, items of a chunk), is 2 MB in float32: near the caches."""
    if not torch.jit.is_scripting() and torch.compiler.is_compiling():
        return items  # a number of chunks that depends on the number of clicks cannot be traced
    return max(1, (1 << 19) // max(1, slots))


def target_attention_scores(encoded: EncodedSessions, table: Tensor) -> Tensor:
    """See :func:`tagnn_fast.ops.target_attention_scores`; in chunks of items."""
    chunk = _chunk_items(encoded.keys.shape[0], table.shape[0])
    return torch.cat([_scores(encoded, part, False) for part in table.split(chunk)], 1)


def target_attention_topk(
    encoded: EncodedSessions,
    table: Tensor,
    k: int,
    candidates: Optional[Tensor] = None,
    excluded: Optional[Tensor] = None,
    excluded_offsets: Optional[Tensor] = None,
) -> tuple[Tensor, Tensor]:
    """See :func:`tagnn_fast.ops.target_attention_topk`; never holds all scores at once, except under torch.compile."""
    sessions, items, device = encoded.session.shape[0], table.shape[0], table.device
    if candidates is None:
        candidates = torch.arange(items, device=device)
    else:
        candidates = candidates[(candidates >= 0) & (candidates < items)].unique()
    if excluded is not None and excluded_offsets is not None:
        owner = owners(rising_offsets(excluded_offsets, excluded.shape[0]), excluded.shape[0])
        pairs = (owner * items + excluded)[(excluded >= 0) & (excluded < items)]
    best = encoded.session.new_full((sessions, k), -torch.inf)
    rows = torch.full((sessions, k), -1, device=device)
    for part in candidates.split(max(k, _chunk_items(encoded.keys.shape[0], items), 1)):
        scores = _scores(encoded, table[part], False)
        part_rows = part.expand(sessions, -1)
        if excluded is not None:
            session_rows = torch.arange(sessions, device=device).unsqueeze(1) * items + part_rows
            left_out = torch.isin(session_rows, pairs)
            scores, part_rows = scores.masked_fill(left_out, -torch.inf), part_rows.masked_fill(left_out, -1)
        scores, candidate_rows = torch.cat([best, scores], 1), torch.cat([rows, part_rows], 1)
        # Candidates stand in rising row order among equals, which stable sorts keep; those left out come last.
        order = (candidate_rows < 0).byte().argsort(dim=1, stable=True)
        order = order.gather(1, torch.sort(scores.gather(1, order), dim=1, descending=True, stable=True)[1][:, :k])
        best, rows = scores.gather(1, order), candidate_rows.gather(1, order)
    return best, rows


def target_attention_cross_entropy(encoded: EncodedSessions, table: Tensor, targets: Tensor) -> Tensor:
    """See :func:`tagnn_fast.ops.target_attention_cross_entropy`; chunks are recomputed in backward, so none is kept."""
    chunk = _chunk_items(encoded.keys.shape[0], table.shape[0])

    def chunk_log_sum_exp(part: Tensor) -> Tensor:
        return _scores(encoded, part, False).logsumexp(1)

    parts = [
        checkpoint(chunk_log_sum_exp, part, use_reentrant=False, preserve_rng_state=False)
        for part in table.split(chunk)  # one gradient for all parts; a slice's would be as large as the table
    ]
    inside = (targets >= 0) & (targets < table.shape[0])
    rows = torch.cat([table, table.new_zeros((1, table.shape[1]))])[torch.where(inside, targets, -1)]
    target = _scores(encoded, rows, True).squeeze(1)
    return torch.where(inside, torch.stack(parts).logsumexp(0) - target, torch.nan)
