"""What the ops hand on to each other: the graphs of a batch of sessions, and the sessions encoded."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SessionGraph(NamedTuple):
    """Graphs of a batch of sessions. Nodes live in *slots*, whose number depends on clicks and sessions alone.

    Session b owns slots ``slot_offsets[b]`` to ``slot_offsets[b + 1]``, one per click (and one more each with a padded
    length); its nodes are the first ``num_nodes[b]`` of them, the rest hold zeros.

    Attributes:
        node_items: item of each node, int64 (slots,); 0 for the padding node.
        clicks: clicks on each node, int64 (slots,); 0 for the padding node.
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
    clicks: Tensor
    neighbour_start: Tensor
    neighbour_count: Tensor
    neighbours: Tensor
    click_nodes: Tensor
    slot_offsets: Tensor
    num_nodes: Tensor
    last_node: Tensor
    padding: Tensor


class EncodedSessions(NamedTuple):
    """What target attention needs of a batch; see :func:`tagnn_fast.ops.target_attention_scores`."""

    session: Tensor  # (sessions, hidden)
    keys: Tensor  # (slots, hidden)
    values: Tensor  # (slots, hidden)
    clicks: Tensor  # (slots,)
    padding: Tensor  # (sessions,)
    slot_offsets: Tensor  # (sessions + 1,)
