"""How long ago a node was clicked: a learned vector for each place from the end of the session."""

import torch
from torch import Tensor, nn

from tagnn_fast.ops.graph import SessionGraph

PLACES = 20  # the last click's, the one's before it, and so on; the last of them is for all earlier ones too


class NodeRecency(nn.Module):
    """A vector for each node, by the place of its last click, counted from the end: reversed positions as in GCE-GNN.

    (Wang et al., SIGIR 2020, equation 11, has them per click in the readout; here clicks on one item share a node.)

    Args:
        hidden_size: width of a node state.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.places = PLACES
        self.embedding = nn.Embedding(PLACES, hidden_size)

    def forward(self, graph: SessionGraph, offsets: Tensor) -> Tensor:
        """Vectors, float (slots, hidden), for the sessions' offsets, int64 (sessions + 1,); any in empty slots."""
        return self.embedding(self.places_of(graph, offsets))  # type: ignore[no-any-return]

    def places_of(self, graph: SessionGraph, offsets: Tensor) -> Tensor:
        """Known clicks of the session after each node's last one, at most PLACES - 1, int64 (slots,)."""
        clicks, slots = graph.click_nodes, graph.node_items.shape[0]
        known = clicks >= 0
        count = torch.cat([offsets.new_zeros(1), known.long().cumsum(0)])  # before each click, and at the end
        numbers = torch.arange(clicks.shape[0], device=clicks.device)
        session = torch.searchsorted(offsets, numbers, right=True)  # from 1; clicks behind the last are of no node
        ends = offsets[session.clamp(max=offsets.shape[0] - 1)]
        from_the_end = (count[ends] - count[1:]).clamp(0, self.places - 1)
        nodes = torch.where(known, clicks, slots)  # behind the last slot for those without a node
        places = torch.full((slots + 1,), self.places - 1, dtype=torch.int64, device=clicks.device)
        return places.scatter_reduce(0, nodes, from_the_end, "amin")[:-1]
