"""Attention-enhanced GNN (Wang & Cai, Mathematics 8(9):1607, 2020)."""

from typing import ClassVar, Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.checks import check_count
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.gated_propagation import GatedPropagation
from tagnn_fast.nn.search_space import RECIPE_SPACE, Choice, Real, SearchSpace, Whole
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.session_transformer import SessionTransformer
from tagnn_fast.ops.graph import EncodedSessions, SessionGraph, encoded_sessions


class AttentionEnhancedGNN(SessionModel):
    """Session graph → gated propagation → attention to the item being scored, and stacked self-attention to the clicks.

    Item j scores (W [Σ_p β_pj h_p ; long ; h_t] + b) · v_j: target attention over the states h_p of the nodes for the
    interest of the moment, the last click's output of self-attention over all clicks for that of the whole session, and
    the state h_t of the last click. W is linear, so its first part moves into the values, and the rest into the session
    vector.

    The paper leaves the layers open. Here they are causal self-attention with the layer norm of its input added, as in
    TAGNN-PP, and a feed-forward part with a residual, as in GC-SAN (Xu et al., IJCAI 2019, section 3.3); without
    positions, as there. No code was published, so there are no "published" semantics.

    Args:
        config: the configuration; `heads` and `attention_dropout` are those of the self-attention.
        layers: of self-attention, one on the other.
    """

    can_explain = True
    unused: ClassVar[frozenset[str]] = frozenset({"hybrid", "readout_softmax", "item_readout", "second_readout"})
    search_space: ClassVar[SearchSpace] = {
        **SessionModel.search_space,
        "rounds": Whole(1, 3),
        **RECIPE_SPACE,
        "heads": Choice([1, 2, 4]),
        "attention_dropout": Real(0.0, 0.5),
    }

    def __init__(self, config: ModelConfig, layers: int = 1) -> None:
        super().__init__(config)
        if config.semantics != "clean":
            raise ValueError(f"semantics: expected clean with AttentionEnhancedGNN, got {config.semantics}")
        hidden = config.hidden_size
        self.propagation = GatedPropagation(hidden, config.rounds, config.star)
        self.target_projection = nn.Linear(hidden, hidden, bias=False)
        self.value_projection = nn.Linear(hidden, hidden, bias=False)
        self.click_attention = nn.ModuleList(
            _ClickAttention(hidden, config.heads, config.attention_dropout)
            for _ in range(check_count(layers, "layers"))
        )
        self.session_projection = nn.Linear(2 * hidden, hidden)
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """See the base class."""
        graph = self.graph(items, offsets, padded_length)
        vectors = self.node_vectors(graph)  # (slots, hidden)
        nodes = self.propagation(vectors, graph)  # (slots, hidden)
        nodes = self.with_recency(nodes, graph, "nodes")  # (slots, hidden)
        nodes = self.through_highway(vectors, nodes)  # (slots, hidden)
        clicks = self._graph_of_clicks(graph, offsets)
        states = self.with_recency(nodes, graph, "readout")[_node_of_each_slot(clicks, graph)]  # (slots, hidden)
        for layer in self.click_attention:
            states = layer(states, clicks)  # (slots, hidden)
        ends = torch.cat([_rows(states, clicks.last_node), _rows(nodes, graph.last_node)], 1)  # (sessions, 2 hidden)
        session = self.session_projection(ends)  # (sessions, hidden)
        encoded = encoded_sessions(session, self.target_projection(nodes), self.value_projection(nodes), graph)
        return self.scaled(encoded)

    def _graph_of_clicks(self, graph: SessionGraph, offsets: Tensor) -> SessionGraph:
        """Each known click as a node of its own, whose item is its number, from 1."""
        numbers = torch.arange(1, graph.click_nodes.shape[0] + 1, device=offsets.device)  # (clicks,)
        return ops.session_graph(torch.where(graph.click_nodes >= 0, numbers, 0), offsets, None)


class _ClickAttention(nn.Module):
    """Self-attention among a session's clicks, and a feed-forward part with a residual."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = SessionTransformer(hidden_size, heads, dropout)
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.outer = nn.Linear(hidden_size, hidden_size)

    def forward(self, states: Tensor, clicks: SessionGraph) -> Tensor:
        """New states of clicks, float (slots, hidden)."""
        attended = self.attention(states, clicks)  # (slots, hidden)
        return attended + self.outer(torch.relu(self.inner(attended)))  # type: ignore[no-any-return]


def _node_of_each_slot(clicks: SessionGraph, graph: SessionGraph) -> Tensor:
    """Of a graph of clicks: the slot of the click's node in the graph of items, int64 (slots,); any in empty slots."""
    return graph.click_nodes[(clicks.node_items - 1).clamp(min=0)].clamp(min=0)


def _rows(states: Tensor, slots: Tensor) -> Tensor:
    """The states in some slots, float (sessions, hidden); zeros for -1."""
    return torch.cat([states, states.new_zeros(1, states.shape[1])])[slots]
