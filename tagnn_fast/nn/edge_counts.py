"""Edges that weigh as often as they occur."""

import torch

from tagnn_fast.ops.graph import SessionGraph


def with_edge_counts(graph: SessionGraph) -> SessionGraph:
    """The same graphs with an edge for each pair of consecutive clicks, though they be on the same items as others.

    A node's average over its neighbours then weighs each by the occurrences of the edge, divided by those of all its
    edges in that direction (SR-GNN, section 3.1). The published code counts every edge once, as does
    :func:`tagnn_fast.ops.session_graph`.
    """
    slots, clicks = graph.node_items.shape[0], graph.click_nodes.shape[0]
    numbers = torch.arange(slots + 1, device=graph.click_nodes.device)
    session = torch.searchsorted(graph.slot_offsets, numbers, right=True)  # (slots + 1,)
    known = graph.click_nodes >= 0
    destination = torch.where(known, graph.click_nodes, slots)  # behind the last slot for skipped clicks
    number = torch.where(known, known.long().cumsum(0), 0)  # of a known click, from 1
    nodes = destination.new_full((clicks + 1,), slots).scatter(0, number, destination)  # of each number; none of 0
    source = nodes[(number - 1).clamp(min=0)]  # of the known click before, (clicks,)
    follows = known & (session[source] == session[destination])
    source, destination = torch.where(follows, source, slots), torch.where(follows, destination, slots)
    in_order = (destination * (slots + 1) + source).argsort()
    out_order = (source * (slots + 1) + destination).argsort()
    neighbours = torch.stack([source[in_order], destination[out_order]])  # (2, clicks)
    count = torch.zeros((2, slots + 1), dtype=torch.int64, device=numbers.device)
    count = count.scatter_add(1, torch.stack([destination, source]), torch.ones_like(neighbours))[:, :slots]
    start = torch.where(count > 0, count.cumsum(1) - count, 0)  # (2, slots)
    return SessionGraph(
        graph.node_items,
        graph.click_counts,
        start,
        count,
        torch.where(neighbours < slots, neighbours, 0),
        graph.click_nodes,
        graph.slot_offsets,
        graph.num_nodes,
        graph.last_node,
        graph.padding,
    )
