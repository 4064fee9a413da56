"""TAGNN++ (arXiv 2107.01516)."""

from typing import ClassVar, Optional

from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.gated_propagation import GatedPropagation
from tagnn_fast.nn.search_space import RECIPE_SPACE, Choice, Real, SearchSpace, Whole
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.session_readout import SessionReadout
from tagnn_fast.nn.session_transformer import SessionTransformer
from tagnn_fast.ops.graph import EncodedSessions, encoded_sessions


class TAGNNPP(SessionModel):
    """Session graph → gated propagation → Transformer block → attention that depends on the item being scored."""

    can_explain = True
    unused: ClassVar[frozenset[str]] = frozenset()
    search_space: ClassVar[SearchSpace] = {
        **SessionModel.search_space,
        "rounds": Whole(1, 3),
        "hybrid": Choice([False, True]),
        "readout_softmax": Choice([False, True]),
        **RECIPE_SPACE,
        "heads": Choice([1, 2, 4]),
        "attention_dropout": Real(0.0, 0.5),
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        self.propagation = GatedPropagation(hidden, config.rounds, config.star)
        self.transformer = SessionTransformer(hidden, config.heads, config.attention_dropout)
        softmax = True if config.readout_softmax is None else config.readout_softmax
        self.readout = SessionReadout(hidden, softmax, config.hybrid, config.item_readout, config.second_readout)
        self.target_projection = nn.Linear(hidden, hidden, bias=False)
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """See the base class."""
        if self.encodes_at_once(items):
            return ops.encode_sessions(
                items,
                offsets,
                self.padded_length_of_call(padded_length),
                self.item_embedding.weight,
                self.propagation.op_parameters(),
                self.transformer.op_parameters(),
                self.readout.op_parameters(),
                self.target_projection.weight,
                self.recency_vectors(),
                self.settled_lengths(),
            )
        graph = self.graph(items, offsets, padded_length)
        vectors = self.node_vectors(graph)  # (slots, hidden)
        nodes = self.propagation(vectors, graph)  # (slots, hidden)
        nodes = self.with_recency(nodes, graph, "nodes")  # (slots, hidden)
        nodes = self.transformer(nodes, graph)  # (slots, hidden)
        nodes = self.through_highway(vectors, nodes)  # (slots, hidden)
        states = self.with_recency(nodes, graph, "readout")  # (slots, hidden)
        session = self.readout(states, graph, vectors)  # (sessions, hidden)
        keys = self.target_projection(nodes)  # (slots, hidden)
        return self.scaled(encoded_sessions(session, keys, nodes, graph))
