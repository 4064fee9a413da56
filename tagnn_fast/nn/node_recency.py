"""How long ago a node was clicked: a learned vector for each place from the end of the session."""

from torch import Tensor, nn

from tagnn_fast.ops.graph import SessionGraph, places_from_the_end

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

    def forward(self, graph: SessionGraph) -> Tensor:
        """Vectors, float (slots, hidden); any in empty slots."""
        return self.embedding(places_from_the_end(graph, self.places))  # type: ignore[no-any-return]
