"""What all networks share: from an encoded session to scores, the best k, and the loss."""

import copy
from typing import ClassVar, Optional

import torch
from torch import Tensor, nn

from tagnn_fast import checks, ops
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.cosine_scale import CosineScale
from tagnn_fast.nn.edge_counts import with_edge_counts
from tagnn_fast.nn.global_neighbours import GlobalNeighbours
from tagnn_fast.nn.highway_gate import HighwayGate
from tagnn_fast.nn.label_smoothing import smoothed_losses
from tagnn_fast.nn.neighbour_attention import NeighbourAttention
from tagnn_fast.nn.node_counts import NodeCounts
from tagnn_fast.nn.node_recency import NodeRecency
from tagnn_fast.nn.ranking import topk
from tagnn_fast.nn.repeats import RepeatLogits, Repeats, losses_with_repeats, scores_with_repeats
from tagnn_fast.nn.search_space import Choice, Real, SearchSpace
from tagnn_fast.nn.unit_rows import unit_rows
from tagnn_fast.ops.graph import EncodedSessions, SessionGraph


class SessionModel(nn.Module):
    """A network that scores every item of the catalogue for each session: the base class of all.

    In all methods, `items` are the item ids of all clicks, int64 (clicks,) in 1..num_items, and session b's are
    ``items[offsets[b]:offsets[b + 1]]``, offsets int64 (sessions + 1,). `padded_length` replaces the configuration's
    for one call; it has no effect in "clean" semantics.

    **A network of one's own** is a subclass that says how sessions are encoded; scores, top-k, the loss, training,
    evaluation, export and serving follow from that (``examples/python/own_model.py`` does all of it).

    - Its constructor takes a ModelConfig, and by keyword whatever `ModelConfig.options` holds; all of these need
      defaults. It ends with :meth:`reset_parameters`, or initialises its parameters as it likes. A parameter that is
      not to be trained says so by ``requires_grad_(False)``.
    - Its :meth:`encode` gives what target attention needs, :func:`tagnn_fast.ops.encoded_sessions`, or
      :func:`tagnn_fast.ops.encoded_without_nodes` where sessions score by their vectors alone.
    - encode takes any values, as the ops do: item 0 is a click to skip, as if it were not there; a session may be
      empty, and gets finite numbers; clicks behind ``offsets[-1]`` belong to no session. What it gives a session
      depends on this session alone. :meth:`graph` and the modules of :mod:`tagnn_fast.nn` keep all of this.
    - It can be scripted by ``torch.jit.script``, in which it is exported: tensors and plain values, with types.
    - It looks at no value of a tensor in Python, and no size in it depends on one: ``torch.export`` traces it too, and
      on a GPU whole steps are recorded.
    - :func:`tagnn_fast.register_architecture` gives it a name, and tries all of this but the last on a few sessions.

    Attributes:
        config: the configuration.
        padded_length: clicks that sessions are padded to in "published" semantics; None in "clean".
        item_embedding: item vectors; row 0 is the padding item.
        can_explain: whether attention says what each click weighs in a score: keys and values of encode stand in the
            slots of :meth:`graph`. A subclass of which it is true says so.
        unused: options of ModelConfig that it does not use: they are refused where they are given. For a subclass that
            says nothing, those that an encode has to see to by :meth:`node_vectors`, :meth:`with_recency`,
            :meth:`through_highway` and :meth:`scaled`.
        search_space: the values of its options that tuning tries, training's among them; a subclass adds its own.
    """

    can_explain = False
    padded_length: Optional[int]
    __constants__ = ["can_explain"]  # noqa: RUF012 (as TorchScript wants it)
    unused: ClassVar[frozenset[str]] = frozenset(
        {
            *("readout_softmax", "cosine_scale", "learned_scale", "session_share", "learned_share"),
            *("item_dropout", "recency", "highway", "neighbour_weight"),
            *("neighbour_attention", "star", "click_counts", "edge_counts", "item_readout", "second_readout"),
        }
    )
    search_space: ClassVar[SearchSpace] = {
        "hidden_size": Choice([32, 64, 100, 128, 200]),
        "learning_rate": Real(2e-4, 1e-2, log=True),
        "weight_decay": Real(1e-7, 1e-3, log=True),
        "batch_size": Choice([64, 128, 256, 512]),
    }

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.padded_length = config.padded_length if config.semantics == "published" else None
        self.item_embedding = nn.Embedding(config.num_items + 1, config.hidden_size)  # row 0 is the padding item
        # Those of a Transformer block alone are in configurations that several networks share.
        for name in sorted(self.unused - {"heads", "attention_dropout"}):
            if (given := getattr(config, name)) != getattr(ModelConfig, name):
                raise ValueError(f"{name}: expected none with a network that does not use it, got {given!r}")
        hidden = config.hidden_size
        self.is_settled = config.cosine_scale is None and not config.neighbour_weight
        added = config.highway, config.neighbour_attention, config.star, config.click_counts, config.edge_counts
        other_readout = config.recency == "readout" or config.item_readout or config.second_readout
        self.has_plain_encoder = not (any(added) or other_readout)
        self.edge_counts = config.edge_counts
        self.item_dropout, self.recency_place = config.item_dropout, str(config.recency)
        self.neighbours = (
            GlobalNeighbours(config.num_items, config.neighbour_weight) if config.neighbour_weight else None
        )
        self.neighbour_attention = NeighbourAttention(config.num_items, hidden) if config.neighbour_attention else None
        self.recency = NodeRecency(hidden) if config.recency != "none" else None
        self.click_counts = NodeCounts(hidden) if config.click_counts else None
        self.highway = HighwayGate(hidden) if config.highway else None
        self.cosine = None
        if config.cosine_scale is not None:
            share = (1.0, False) if "session_share" in self.unused else (config.session_share, config.learned_share)
            self.cosine = CosineScale(config.cosine_scale, config.learned_scale, *share)
        self.repeats = RepeatLogits() if config.repeats else None

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from ±1/√hidden_size, as in the published training recipe.

        A learned scale or share begins with its option's value, and logits of repeats with 0.
        """
        bound = self.config.hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        if self.cosine is not None:
            self.cosine.reset_parameters()
        if self.repeats is not None:
            self.repeats.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """Session vectors, and keys and values of target attention; see the class for what a subclass must keep to.

        Args:
            items: as in all methods, but of any values: unchecked, 0 for a click to skip.
            offsets: as in all methods; sessions may be empty, and clicks behind the last belong to no session.
            padded_length: replaces the configuration's.
        """
        raise NotImplementedError

    def graph(self, items: Tensor, offsets: Tensor, padded_length: Optional[int]) -> ops.SessionGraph:
        """The sessions' graphs, in the model's semantics."""
        graph = ops.session_graph(items, offsets, self.padded_length_of_call(padded_length))
        return with_edge_counts(graph) if self.edge_counts else graph

    def padded_length_of_call(self, padded_length: Optional[int]) -> Optional[int]:
        """What :func:`tagnn_fast.ops.session_graph` takes, given what a call does."""
        if self.padded_length is None:
            return None
        return self.padded_length if padded_length is None else padded_length

    def encodes_at_once(self, items: Tensor) -> bool:
        """Whether :func:`tagnn_fast.ops.encode_sessions` will do: on the CPU, without dropout and gradients.

        Of what recipes add it knows recency on nodes and scores that are cosines, of a model that is settled.
        """
        plain = self.has_plain_encoder and self.is_settled
        return plain and items.is_cpu and not self.training and not torch.is_grad_enabled()

    def node_vectors(self, graph: SessionGraph) -> Tensor:
        """Vectors of the nodes' items as an encoder takes them, float (slots, hidden); any in empty slots."""
        nodes = self._vectors_of(graph.node_items)
        if self.item_dropout > 0.0:
            nodes = nn.functional.dropout(nodes, self.item_dropout, self.training)
        nodes = self._of_length_1(nodes)
        if self.neighbour_attention is not None:
            items = self.neighbour_attention.items[graph.node_items]  # (slots, neighbours)
            vectors = self._of_length_1(self._vectors_of(items.flatten()))
            vectors = vectors.view(items.shape[0], items.shape[1], nodes.shape[1])
            return self.neighbour_attention(nodes, vectors, graph)  # type: ignore[no-any-return]
        return nodes

    def _vectors_of(self, items: Tensor) -> Tensor:
        """Vectors of items, int64 (any,), before they are brought to length 1: float (any, hidden)."""
        if self.neighbours is not None:
            return self.neighbours(self.item_embedding.weight, items)  # type: ignore[no-any-return]
        return self.item_embedding(items)  # type: ignore[no-any-return]

    def _of_length_1(self, vectors: Tensor) -> Tensor:
        """The same where scores are products of vectors of any length, and where they are so already."""
        return unit_rows(vectors) if self.cosine is not None and not self.is_settled else vectors

    def with_recency(self, nodes: Tensor, graph: SessionGraph, place: str) -> Tensor:
        """Node states at a place, "nodes" or "readout", with the vectors of their recency if they belong there.

        And with those of their click counts, in "nodes".
        """
        if self.click_counts is not None and place == "nodes":
            nodes = nodes + self.click_counts(graph)
        if self.recency is not None and self.recency_place == place:
            return nodes + self.recency(graph)  # type: ignore[no-any-return]
        return nodes

    def recency_vectors(self) -> Optional[Tensor]:
        """Those of each place, float (places, hidden), as :func:`tagnn_fast.ops.encode_sessions` adds them."""
        vectors: Optional[Tensor] = None
        if self.recency is not None:
            vectors = self.recency.embedding.weight
        return vectors

    def settled_lengths(self) -> Optional[tuple[float, float]]:
        """That :func:`tagnn_fast.ops.encode_sessions` brings session vectors and values to, once a model is settled."""
        lengths: Optional[tuple[float, float]] = None
        if self.cosine is not None:
            lengths = self.cosine.lengths
        return lengths

    def through_highway(self, vectors: Tensor, nodes: Tensor) -> Tensor:
        """Encoded node states, with a share of the item vectors that they were made from if there is a highway."""
        if self.highway is not None:
            return self.highway(vectors, nodes)  # type: ignore[no-any-return]
        return nodes

    def scaled(self, encoded: EncodedSessions) -> EncodedSessions:
        """Encoded sessions as they are scored: of the lengths that make scores cosines, if they are such."""
        if self.cosine is not None:
            return self.cosine(encoded)  # type: ignore[no-any-return]
        return encoded

    def repeats_of(self, items: Tensor, offsets: Tensor) -> Optional[Repeats]:
        """What is added to the scores of items that the sessions have clicked; None for nothing."""
        repeats: Optional[Repeats] = None
        if self.repeats is not None:
            repeats = self.repeats(items, offsets)
        return repeats

    def item_vectors(self) -> Tensor:
        """The vectors that sessions score items by, float (num_items, hidden)."""
        return self.finished(self.item_embedding.weight)[1:]

    def finished(self, weight: Tensor) -> Tensor:
        """All rows of the item embedding, float (num_items + 1, hidden), with their neighbours, of length 1 if so."""
        if self.neighbours is not None:
            weight = self.neighbours(weight)
        return self._of_length_1(weight)

    @torch.jit.ignore
    def learn_neighbours(self, clicks: Tensor, offsets: Tensor) -> None:
        """Find the neighbours of items, if the network has such.

        Args:
            clicks: item ids of all clicks of the sessions to be trained on, integers (clicks,).
            offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        """
        for table in (self.neighbours, self.neighbour_attention):
            if table is not None:
                table.learn(clicks, offsets)

    @torch.jit.ignore
    @torch.no_grad()
    def settled(self) -> "SessionModel":
        """For answers only: itself, or a copy that holds the item vectors which it would make anew each time."""
        if self.is_settled and self.repeats is None:
            return self
        settled = copy.deepcopy(self).requires_grad_(False)
        settled.item_embedding.weight.copy_(self.finished(self.item_embedding.weight))
        settled.is_settled, settled.neighbours = True, None
        if settled.cosine is not None:
            settled.cosine.settle()
        if settled.repeats is not None:
            settled.repeats.settle()
        return settled

    def forward(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> Tensor:
        """Scores of all items, float (sessions, num_items); column j is item j + 1.

        Raises:
            TypeError: on a wrong type or dtype.
            ValueError: on a wrong shape or device, ids outside 1..num_items, inconsistent offsets, an empty session.
        """
        if not torch.jit.is_scripting():
            self._check(items, offsets, padded_length)
        encoded = self.encode(items, offsets, padded_length)
        scores = ops.target_attention_scores(encoded, self.item_vectors())
        repeats = self.repeats_of(items, offsets)
        return scores if repeats is None else scores_with_repeats(scores, repeats)

    @torch.jit.export
    def topk(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        padded_length: Optional[int] = None,
        candidates: Optional[Tensor] = None,
        exclude_clicked: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Scores, float, and ids, int64, of the best k items of each session, both (sessions, k).

        Best first, equal scores by id. `candidates` are the only ids to choose from, int64 (any,), in any order; with
        `exclude_clicked` a session gets none of its own items. Where fewer than k are left, the rest are -inf and 0.

        Raises:
            TypeError, ValueError: as in forward, for k outside 1..num_items, and for candidates outside 1..num_items.
        """
        if not torch.jit.is_scripting():
            self._check(items, offsets, padded_length, k=k, candidates=candidates)
            k = int(k)  # NumPy's integers are integers too
        encoded = self.encode(items, offsets, padded_length)
        scores, rows = topk(  # (sessions, k)
            encoded,
            self.item_vectors(),
            k,
            candidates - 1 if candidates is not None else None,
            items - 1 if exclude_clicked else None,
            offsets if exclude_clicked else None,
            None,
            self.repeats_of(items, offsets),
        )
        return scores, rows + 1

    @torch.jit.ignore
    def loss(self, items: Tensor, offsets: Tensor, targets: Tensor, padded_length: Optional[int] = None) -> Tensor:
        """Mean cross-entropy over the catalogue of the item that follows each session, int64 (sessions,): a scalar.

        Raises:
            TypeError, ValueError: as in forward, and for targets outside 1..num_items or not one per session.
        """
        self._check(items, offsets, padded_length, targets=targets)
        losses: Tensor = self.losses(items, offsets, targets, padded_length)
        return losses.mean()

    @torch.jit.ignore
    def losses(
        self,
        items: Tensor,
        offsets: Tensor,
        targets: Tensor,
        padded_length: Optional[int] = None,
        table: Optional[Tensor] = None,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Cross-entropy of each session's next item, float (sessions,); NaN for one outside 1..num_items.

        Values are unchecked, as in encode: nothing waits for a GPU, and clicks after the last session count for none.
        `table` is what :meth:`item_vectors` gives, for who needs the gradient of it apart; `label_smoothing` is ε of
        :func:`~tagnn_fast.nn.label_smoothing.smoothed_losses`, which draws items.
        """
        encoded = self.encode(items, offsets, padded_length)
        if table is None:
            table = self.item_vectors()
        rows = targets - 1
        losses = ops.target_attention_cross_entropy(encoded, table, rows)
        repeats = self.repeats_of(items, offsets)
        if repeats is not None:
            losses = losses_with_repeats(losses, encoded, table, rows, repeats)
        if label_smoothing > 0.0:
            losses = smoothed_losses(losses, encoded, table, rows, label_smoothing, repeats)
        return losses

    @torch.jit.ignore
    def _check(
        self,
        items: Tensor,
        offsets: Tensor,
        padded_length: Optional[int],
        k: Optional[int] = None,
        targets: Optional[Tensor] = None,
        candidates: Optional[Tensor] = None,
    ) -> None:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # there are no values to look at
        if k is not None:
            checks.check_k(k, self.config.num_items)
        checks.check_sessions(items, offsets, self.item_embedding.weight)
        checks.check_padded_length(padded_length)
        if candidates is not None:
            checks.check_integer_vector(candidates, "candidates")
            checks.check_same_device(candidates, "candidates", self.item_embedding.weight)
            checks.check_item_ids(candidates, "candidates", self.config.num_items)
        if targets is not None:
            checks.check_targets(targets, offsets, self.item_embedding.weight)
