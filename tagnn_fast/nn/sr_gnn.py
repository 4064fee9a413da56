"""SR-GNN (Wu et al., AAAI 2019)."""

from typing import ClassVar, Optional

from torch import Tensor

from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.gated_propagation import GatedPropagation
from tagnn_fast.nn.search_space import Choice, SearchSpace, Whole
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.session_readout import SessionReadout
from tagnn_fast.ops.graph import EncodedSessions, encoded_without_nodes


class SRGNN(SessionModel):
    """Session graph → gated propagation → one vector per session, whose product with an item's is its score."""

    unused: ClassVar[frozenset[str]] = frozenset({"heads", "attention_dropout"})
    search_space: ClassVar[SearchSpace] = {
        **SessionModel.search_space,
        "rounds": Whole(1, 3),
        "hybrid": Choice([False, True]),
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.propagation = GatedPropagation(config.hidden_size, config.rounds)
        self.readout = SessionReadout(config.hidden_size, normalize=False, hybrid=config.hybrid)
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """See the base class. Sessions score by their vectors alone."""
        graph = self.graph(items, offsets, padded_length)
        nodes = self.item_embedding(graph.node_items)  # (slots, hidden)
        nodes = self.propagation(nodes, graph)  # (slots, hidden)
        session = self.readout(nodes, graph)  # (sessions, hidden)
        return encoded_without_nodes(session)
