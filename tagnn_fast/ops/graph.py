"""What the ops hand on to each other: the graphs of a batch of sessions, and the sessions encoded."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class SessionGraph(NamedTuple):
    """Graphs of a batch of sessions. Nodes live in *slots*, whose number depends on clicks and sessions alone.

    Session b owns slots ``slot_offsets[b]`` to ``slot_offsets[b + 1]``, one per click (and one more each with a padded
    length); its nodes are the first ``num_nodes[b]`` of them, the rest hold zeros.

    Attributes:
        node_items: item of each node, int64 (slots,); 0 for the padding node.
        click_counts: clicks on each node, int64 (slots,); 0 for the padding node.
        neighbour_start: where a node's list begins in ``neighbours``, int64 (2, slots); row 0 for in-neighbours, row 1
            for out-neighbours.
        neighbour_count: how many it has, int64 (2, slots).
        neighbours: slots of the neighbours, in rising order, int64 (2, clicks). Both rows list the same edges: the
            gradient of an average over in-neighbours goes back along out-neighbours.
        click_nodes: slot of each click's node, int64 (clicks,); -1 for a skipped click.
        slot_offsets: first slot of each session, int64 (sessions + 1,).
        num_nodes: nodes of each session, the padding node included, int64 (sessions,).
        last_node: slot of the last click's node, int64 (sessions,); -1 for an empty session.
        padding: padded positions of each session, int64 (sessions,); where there are any, the session's first node is
            the padding node.
    """

    node_items: Tensor
    click_counts: Tensor
    neighbour_start: Tensor
    neighbour_count: Tensor
    neighbours: Tensor
    click_nodes: Tensor
    slot_offsets: Tensor
    num_nodes: Tensor
    last_node: Tensor
    padding: Tensor


def places_from_the_end(graph: SessionGraph, places: int) -> Tensor:
    """Clicks of its session after each node's last one, at most places - 1, int64 (slots,).

    Skipped clicks do not count; slots without a click have places - 1.
    """
    slots, sessions = graph.node_items.shape[0], graph.num_nodes.shape[0]
    numbers = torch.arange(slots, device=graph.click_nodes.device)
    owner = torch.searchsorted(graph.slot_offsets, numbers, right=True) - 1  # the number of sessions behind the last
    known = graph.click_nodes >= 0
    nodes = torch.where(known, graph.click_nodes, slots)  # behind the last slot for skipped clicks
    session = torch.cat([owner, owner.new_full((1,), sessions)])[nodes]  # (clicks,)
    count = known.long().cumsum(0)
    ends = torch.zeros(sessions + 1, dtype=torch.int64, device=nodes.device)
    ends = ends.scatter_reduce(0, session, count, "amax")
    last = torch.full((slots + 1,), places - 1, dtype=torch.int64, device=nodes.device)
    return last.scatter_reduce(0, nodes, (ends[session] - count).clamp(0, places - 1), "amin")[:-1]


class EncodedSessions(NamedTuple):
    """A batch of sessions as target attention takes them (TAGNN, section 3.4).

    A session scores item j, of vector v_j, by session · v_j + Σ_p β_pj (value_p · v_j), β_pj being the softmax of
    key_p · v_j over its clicks p. Clicks on one item share a node, in the slots of a :class:`SessionGraph`. Padded
    positions take part in the softmax with logit 0 and value 0.

    Attributes:
        session: session vectors, float (sessions, hidden).
        keys: W_t h_p of each node, float (slots, hidden); a session without nodes scores by its session vector alone.
        values: h_p of each node, float (slots, hidden).
        click_counts: clicks on each node, int64 (slots,); slots without any take no part.
        padding: padded positions of each session, int64 (sessions,).
        slot_offsets: first slot of each session and the end of the last, int64 (sessions + 1,).
    """

    session: Tensor
    keys: Tensor
    values: Tensor
    click_counts: Tensor
    padding: Tensor
    slot_offsets: Tensor


class PropagationParameters(NamedTuple):
    """See :func:`tagnn_fast.ops.gated_propagation`."""

    state_weight: Tensor
    state_bias: Tensor
    message_bias: Tensor
    weight_ih: Tensor
    bias_ih: Tensor
    rounds: int


class AttentionParameters(NamedTuple):
    """Of causal attention without dropout, see :func:`tagnn_fast.ops.session_attention`."""

    qkv_weight: Tensor
    qkv_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor
    norm_weight: Optional[Tensor]
    norm_bias: Optional[Tensor]
    heads: int


class ReadoutParameters(NamedTuple):
    """See :func:`tagnn_fast.ops.session_readout`.

    Attributes:
        hybrid_weight: projection of [pooled ; last click] to the session vector, float (hidden, 2 hidden); None where
            that is the pooled vector.
        hybrid_bias: its bias, float (hidden,).
    """

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    logit_weight: Tensor
    normalize: bool
    hybrid_weight: Optional[Tensor]
    hybrid_bias: Optional[Tensor]


def encoded_sessions(session: Tensor, keys: Tensor, values: Tensor, graph: SessionGraph) -> EncodedSessions:
    """Sessions with session vectors, float (sessions, hidden), and keys and values of nodes, float (slots, hidden)."""
    return EncodedSessions(session, keys, values, graph.click_counts, graph.padding, graph.slot_offsets)


def encoded_without_nodes(session: Tensor) -> EncodedSessions:
    """Sessions that score by their vectors alone, float (sessions, hidden): there are no slots to attend to."""
    sessions, rows = session.shape[0], session[:0]
    integers = torch.zeros(sessions + 1, dtype=torch.int64, device=session.device)
    return EncodedSessions(session, rows, rows, integers[:0], integers[1:], integers)
