"""What an item's neighbours in all training sessions tell a session about it (GCE-GNN)."""

import torch
from torch import Tensor, nn

from tagnn_fast.nn.global_neighbours import NeighbourTable
from tagnn_fast.nn.session_sums import session_of_slots, session_sums, to_slots
from tagnn_fast.ops.graph import SessionGraph

DROPOUT = 0.5  # as in the paper's code, on Diginetica
_SLOPE = 0.2


class NeighbourAttention(NeighbourTable):
    """h_i = v_i + dropout(relu(W₂ [v_i ; Σ_j π_ij v_j])), with π_ij = softmax_j(q · LeakyReLU(W₁ [s ⊙ v_j ; w_ij])).

    The sum is over the neighbours j of item i, whose share is w_ij, and s is the mean of the vectors of the session's
    clicks: GCE-GNN (Wang et al., SIGIR 2020, section 4.1). There the second term joins what the session's own graph
    makes of v_i; here the graph begins with h_i. There w_ij are counts; shares are of one size for all items. An item
    without neighbours has a sum of zeros.

    Args:
        num_items: size of the catalogue.
        hidden_size: width of item vectors.
    """

    def __init__(self, num_items: int, hidden_size: int) -> None:
        super().__init__(num_items)
        self.dropout, self.slope = DROPOUT, _SLOPE
        self.product = nn.Linear(hidden_size, hidden_size, bias=False)  # W₁, of s ⊙ v_j
        self.share_weight = nn.Parameter(torch.empty(hidden_size))  # (hidden,), its last column, of w_ij
        self.logit_weight = nn.Parameter(torch.empty(hidden_size))  # q, (hidden,)
        self.output = nn.Linear(2 * hidden_size, hidden_size, bias=False)  # W₂
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def forward(self, vectors: Tensor, neighbours: Tensor, graph: SessionGraph) -> Tensor:
        """Vectors that know of their neighbours, float (slots, hidden); any in empty slots.

        Args:
            vectors: of the nodes' items, float (slots, hidden).
            neighbours: those of their neighbours, float (slots, 12, hidden).
            graph: the sessions' graphs.
        """
        slots, sessions = vectors.shape[0], graph.num_nodes.shape[0]
        session = session_of_slots(graph.slot_offsets, slots)
        counts = graph.click_counts.unsqueeze(1).to(vectors.dtype)  # (slots, 1)
        clicks = session_sums(counts, session, sessions).clamp(min=1)
        mean = to_slots(session_sums(vectors * counts, session, sessions) / clicks, session)  # (slots, hidden)
        shares = self.shares[graph.node_items].to(vectors.dtype)  # (slots, 12)
        inner = self.product(mean.unsqueeze(1) * neighbours) + shares.unsqueeze(2) * self.share_weight
        logits = (nn.functional.leaky_relu(inner, self.slope) * self.logit_weight).sum(2)  # (slots, 12)
        # Of those that are none, every weight is 0, and none is NaN where there are no others.
        weights = logits.masked_fill(shares == 0, -1e4).softmax(1) * (shares > 0)
        around = (weights.unsqueeze(2) * neighbours).sum(1)  # (slots, hidden)
        of_neighbours = torch.relu(self.output(torch.cat([vectors, around.to(vectors.dtype)], 1)))
        return vectors + nn.functional.dropout(of_neighbours, self.dropout, self.training)
