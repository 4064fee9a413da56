"""How often a node was clicked: a learned vector for each number."""

from torch import Tensor, nn

from tagnn_fast.ops.graph import SessionGraph

MOST = 20  # clicks; more count as so many


class NodeCounts(nn.Module):
    """A vector for each node, by its clicks in the session; MiaSRec (Choi et al., SIGIR 2024) tells repeated items so.

    Args:
        hidden_size: width of a node state.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.most = MOST
        self.embedding = nn.Embedding(MOST, hidden_size)

    def forward(self, graph: SessionGraph) -> Tensor:
        """Vectors, float (slots, hidden); any in empty slots."""
        return self.embedding(graph.click_counts.clamp(1, self.most) - 1)  # type: ignore[no-any-return]
