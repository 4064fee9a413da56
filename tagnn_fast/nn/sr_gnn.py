"""SR-GNN (Wu et al., AAAI 2019)."""

from typing import ClassVar, Optional

from torch import Tensor

from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.gated_propagation import GatedPropagation
from tagnn_fast.nn.search_space import RECIPE_SPACE, Choice, SearchSpace, Whole
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.session_readout import SessionReadout
from tagnn_fast.ops.graph import EncodedSessions, encoded_without_nodes


class SRGNN(SessionModel):
    """Session graph → gated propagation → one vector per session, whose product with an item's is its score."""

    unused: ClassVar[frozenset[str]] = frozenset({"heads", "attention_dropout", "session_share", "learned_share"})
    search_space: ClassVar[SearchSpace] = {
        **SessionModel.search_space,
        "rounds": Whole(1, 3),
        "hybrid": Choice([False, True]),
        "readout_softmax": Choice([False, True]),
        **RECIPE_SPACE,
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.propagation = GatedPropagation(config.hidden_size, config.rounds, config.star)
        softmax = False if config.readout_softmax is None else config.readout_softmax
        self.readout = SessionReadout(
            config.hidden_size, softmax, config.hybrid, config.item_readout, config.second_readout
        )
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """See the base class. Sessions score by their vectors alone."""
        graph = self.graph(items, offsets, padded_length)
        vectors = self.node_vectors(graph)  # (slots, hidden)
        nodes = self.propagation(vectors, graph)  # (slots, hidden)
        nodes = self.with_recency(nodes, graph, "nodes")  # (slots, hidden)
        nodes = self.through_highway(vectors, nodes)  # (slots, hidden)
        states = self.with_recency(nodes, graph, "readout")  # (slots, hidden)
        session = self.readout(states, graph, vectors)  # (sessions, hidden)
        return self.scaled(encoded_without_nodes(session))
