"""A star node: one state for a whole session, which all its nodes see after each round of propagation."""

import torch
from torch import Tensor, nn

from tagnn_fast.nn.session_sums import session_of_slots, session_softmax, session_sums, to_slots
from tagnn_fast.ops.graph import SessionGraph


class StarNode(nn.Module):
    """The star of SGNN-HN (Pan et al., CIKM 2020, section 3.2): what stands apart in a session is one step away.

    It begins as the mean x of the session's nodes. After each round, h_i ← (1 - α_i) h_i + α_i x, where α_i is
    σ(W₁ h_i · W₂ x / √hidden), in the paper without σ. Before the next round, x ← Σ_i β_i h_i, where β_i is
    softmax_i(W₃ h_i · W₄ x / √hidden). Nodes count once, however often they were clicked.

    Args:
        hidden_size: width of a node state.
        moves: whether there is a next round.
    """

    def __init__(self, hidden_size: int, moves: bool = True) -> None:
        super().__init__()
        self.scale = hidden_size**-0.5
        self.gate_node = nn.Linear(hidden_size, hidden_size, bias=False)  # W₁
        self.gate_star = nn.Linear(hidden_size, hidden_size, bias=False)  # W₂
        self.key = nn.Linear(hidden_size, hidden_size, bias=False) if moves else None  # W₃
        self.query = nn.Linear(hidden_size, hidden_size, bias=False) if moves else None  # W₄

    def begin(self, nodes: Tensor, graph: SessionGraph) -> Tensor:
        """The mean of each session's nodes, float (sessions, hidden); zeros for an empty one."""
        session, sessions = session_of_slots(graph.slot_offsets, nodes.shape[0]), graph.num_nodes.shape[0]
        used = (graph.click_counts > 0).unsqueeze(1).to(nodes.dtype)  # (slots, 1)
        return session_sums(nodes * used, session, sessions) / session_sums(used, session, sessions).clamp(min=1)

    def forward(self, nodes: Tensor, star: Tensor, graph: SessionGraph) -> Tensor:
        """Nodes that have seen the stars, float (sessions, hidden): new states, float (slots, hidden)."""
        around = to_slots(star, session_of_slots(graph.slot_offsets, nodes.shape[0]))  # (slots, hidden)
        logits = (self.gate_node(nodes) * self.gate_star(around)).sum(1, keepdim=True)
        gate = torch.sigmoid(logits * self.scale)  # (slots, 1)
        return (1 - gate) * nodes + gate * around

    def move(self, nodes: Tensor, star: Tensor, graph: SessionGraph) -> Tensor:
        """Stars that have seen the nodes, float (sessions, hidden); as they are if they do not move."""
        if self.key is None or self.query is None:
            return star
        session, sessions = session_of_slots(graph.slot_offsets, nodes.shape[0]), star.shape[0]
        logits = (self.key(nodes) * to_slots(self.query(star), session)).sum(1, keepdim=True) * self.scale
        weights = session_softmax(logits, (graph.click_counts > 0).long(), None, session, sessions)  # (slots, 1)
        return session_sums(weights * nodes, session, sessions)
