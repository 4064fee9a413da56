"""From node states to one vector per session (SR-GNN, equations 6-7; TAGNN, equation 9)."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.session_sums import session_of_slots, session_softmax, session_sums, to_slots
from tagnn_fast.ops.graph import ReadoutParameters, SessionGraph


class SessionReadout(nn.Module):
    """Soft attention over the clicks, seen from the last one.

    Args:
        hidden_size: width of a node state.
        normalize: softmax of the attention (TAGNN) or its plain values (SR-GNN).
        hybrid: project [pooled ; last click], instead of the pooled vector alone.
        of_items: pool the vectors of items instead of the states of their nodes, with the same weights, so that session
            vectors lie among item vectors: the consistent space of CORE (Hou et al., SIGIR 2022, section 3.2).
        twice: project [pooled ; pooled again with weights of its own ; last click], as heads of attention see several
            things at once (Vaswani et al., NeurIPS 2017, section 3.2.2); with `hybrid`.
    """

    def __init__(
        self, hidden_size: int, normalize: bool, hybrid: bool, of_items: bool = False, twice: bool = False
    ) -> None:
        super().__init__()
        self.normalize, self.of_items = normalize, of_items
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        bound = hidden_size**-0.5
        self.logit_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))  # (hidden,)
        self.second = SessionReadout(hidden_size, normalize, hybrid=False) if twice else None
        self.projection = nn.Linear((3 if twice else 2) * hidden_size, hidden_size) if hybrid else None

    def op_parameters(self) -> ReadoutParameters:
        """For :func:`tagnn_fast.ops.encode_sessions`."""
        hybrid_weight: Optional[Tensor] = None
        hybrid_bias: Optional[Tensor] = None
        if self.projection is not None:
            hybrid_weight, hybrid_bias = self.projection.weight, self.projection.bias
        return ReadoutParameters(
            self.query.weight,
            self.query.bias,
            self.key.weight,
            self.key.bias,
            self.logit_weight,
            self.normalize,
            hybrid_weight,
            hybrid_bias,
        )

    def forward(self, nodes: Tensor, graph: SessionGraph, vectors: Optional[Tensor] = None) -> Tensor:
        """Session vectors, float (sessions, hidden).

        Args:
            nodes: node states, float (slots, hidden).
            graph: the sessions' graphs.
            vectors: of the nodes' items, float (slots, hidden), which `of_items` needs.
        """
        if self.of_items:
            if vectors is None:
                raise ValueError("vectors: expected those of the nodes' items, got None")
            return self._pooled_items(nodes, graph, vectors)
        pooled, last_click = ops.session_readout(
            nodes,
            graph,
            self.query.weight,
            self.query.bias,
            self.key.weight,
            self.key.bias,
            self.logit_weight,
            self.normalize,
        )
        if self.projection is None:
            return pooled  # (sessions, hidden)
        if self.second is not None:
            pooled = torch.cat([pooled, self.second(nodes, graph)], 1)  # (sessions, 2 hidden)
        return self.projection(torch.cat([pooled, last_click], 1))  # type: ignore[no-any-return]

    def _pooled_items(self, nodes: Tensor, graph: SessionGraph, vectors: Tensor) -> Tensor:
        sessions = graph.num_nodes.shape[0]
        session = session_of_slots(graph.slot_offsets, nodes.shape[0])
        last = torch.cat([nodes, nodes.new_zeros((1, nodes.shape[1]))])[graph.last_node]  # (sessions, hidden)
        inner = torch.sigmoid(to_slots(self.query(last), session) + self.key(nodes))  # (slots, hidden)
        weights = (inner * self.logit_weight).sum(1, keepdim=True)  # (slots, 1)
        if self.normalize:
            weights = session_softmax(weights, graph.click_counts, None, session, sessions)
        return session_sums(weights * graph.click_counts.unsqueeze(1) * vectors, session, sessions)
