"""Session graphs: distinct items as nodes, distinct consecutive pairs as edges (SR-GNN, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from tagnn_fast import _library, reference


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


def session_graph(items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> SessionGraph:
    """Graphs of all sessions of a batch.

    Any values are taken: item 0 is a click to skip, sessions may be empty, offsets are made to rise.

    Args:
        items: item of each click, int64 (clicks,).
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        padded_length: None for nodes in order of first click and no padding ("clean"); otherwise nodes are sorted by
            item id, and sessions with fewer clicks have an isolated padding node first ("original").

    Raises:
        RuntimeError: on a wrong shape, dtype or device, or a negative padded_length.
    """
    if not torch.jit.is_scripting() and not _library.has_kernel(items):
        return SessionGraph(*reference.session_graph(items, offsets, padded_length))
    # Each by hand: TorchScript does not unpack into a named tuple.
    graph = torch.ops.tagnn_fast.session_graph(items, offsets, padded_length)
    return SessionGraph(
        graph[0], graph[1], graph[2], graph[3], graph[4], graph[5], graph[6], graph[7], graph[8], graph[9]
    )


@torch.library.register_fake("tagnn_fast::session_graph")
def _(items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> tuple[Tensor, ...]:
    clicks, sessions = items.shape[0], offsets.shape[0] - 1
    slots = clicks if padded_length is None else clicks + sessions
    shapes = ((slots,), (slots,), (2, slots), (2, slots), (2, clicks), (clicks,), (sessions + 1,))
    per_session = ((sessions,),) * 3
    return tuple(items.new_empty(shape) for shape in shapes + per_session)
