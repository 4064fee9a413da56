"""Options of the models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Literal, get_args

from tagnn_fast.checks import check_count, check_flag, check_padded_length, check_real

Semantics = Literal["clean", "published"]
RecencyPlace = Literal["none", "nodes", "readout"]
_ALIASES = {"original": "published"}  # what earlier versions wrote


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and variants of a model, checked when made.

    Attributes:
        num_items: size of the catalogue; item ids are 1..num_items.
        hidden_size: width of item embeddings and node states.
        rounds: rounds of gated propagation over the session graph (1 in the paper). Files and options of earlier
            versions call them `steps`, which is still read.
        heads: attention heads of the Transformer block, or of the self-attention over the clicks (TAGNN-PP and the
            attention-enhanced GNN, where it must divide hidden_size).
        attention_dropout: rate on the Transformer block's attention weights in training.
        hybrid: project [readout ; last click] to the session vector, instead of the readout alone.
        readout_softmax: softmax of the readout's attention (TAGNN, equation 9), or its plain values (SR-GNN, equation
            6); None: as the architecture has it.
        cosine_scale: σ of scores that are cosines, see :class:`~tagnn_fast.nn.cosine_scale.CosineScale`: item vectors
            have length 1, also where they enter the encoder. None, or 0: scores are products of vectors of any length.
        learned_scale: learn σ, from `cosine_scale`.
        session_share: the session vector's share of a cosine score; target attention has the rest.
        learned_share: learn it, from `session_share`.
        item_dropout: rate on the item vectors that enter the encoder in training, before they are brought to length 1.
        recency: where the vector of each node's place from the end of its session is added, see
            :class:`~tagnn_fast.nn.node_recency.NodeRecency`: "none"; "nodes", to the node states after propagation;
            "readout", to what the readout takes alone.
        highway: a gate lets the item vector past the encoder, see :class:`~tagnn_fast.nn.highway_gate.HighwayGate`.
        neighbour_weight: λ of the vectors that an item's neighbours in all training sessions add to its own, see
            :class:`~tagnn_fast.nn.global_neighbours.GlobalNeighbours`; 0: none.
        neighbour_attention: attention to these neighbours in each node that the encoder begins with, see
            :class:`~tagnn_fast.nn.neighbour_attention.NeighbourAttention`.
        repeats: learned logits for items that the session has clicked already, see
            :class:`~tagnn_fast.nn.repeats.RepeatLogits`.
        star: a star node takes part in propagation, see :class:`~tagnn_fast.nn.star_node.StarNode`.
        click_counts: a vector for the number of clicks on each node is added to the node states after propagation, see
            :class:`~tagnn_fast.nn.node_counts.NodeCounts`.
        edge_counts: edges weigh as often as they occur, see :func:`~tagnn_fast.nn.edge_counts.with_edge_counts`.
        item_readout: the readout pools item vectors instead of node states, see
            :class:`~tagnn_fast.nn.session_readout.SessionReadout`; without `hybrid`, in "clean" semantics.
        second_readout: the readout pools twice, with weights of its own each time; with `hybrid`.
        semantics: "clean", without any padding and with nodes in order of first click; or "published", what the
            published code computes, in which padded positions take part in every softmax and nodes are sorted by id.
            "original", its name in earlier versions, is taken for "published".
        padded_length: clicks that sessions are padded to in "published" semantics (the longest prefix of the data split
            in the published code); unused in "clean". Models also take it per call.
        options: what the constructor of an architecture of one's own takes beside this configuration, by name: numbers,
            strings, truth values or None. Of the package's own, the attention-enhanced GNN takes `layers`.
    """

    num_items: int
    hidden_size: int = 100
    rounds: int = 1
    heads: int = 2
    attention_dropout: float = 0.1
    hybrid: bool = False
    semantics: Semantics = "clean"
    padded_length: int | None = None
    readout_softmax: bool | None = None
    cosine_scale: float | None = None
    learned_scale: bool = False
    session_share: float = 0.5
    learned_share: bool = False
    item_dropout: float = 0.0
    recency: RecencyPlace = "none"
    highway: bool = False
    neighbour_weight: float = 0.0
    neighbour_attention: bool = False
    repeats: bool = False
    star: bool = False
    click_counts: bool = False
    edge_counts: bool = False
    item_readout: bool = False
    second_readout: bool = False
    options: Mapping[str, int | float | str | bool | None] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("num_items", "hidden_size", "rounds", "heads"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        object.__setattr__(self, "attention_dropout", check_real(self.attention_dropout, "attention_dropout"))
        for name in ("item_dropout", "session_share", "neighbour_weight"):
            object.__setattr__(self, name, float(check_real(getattr(self, name), name)))
        for name in ("attention_dropout", "item_dropout"):
            if not 0 <= (rate := getattr(self, name)) < 1:
                raise ValueError(f"{name}: expected a rate in [0, 1), got {rate}")
        for name in (
            *("hybrid", "learned_scale", "learned_share", "highway"),
            *("neighbour_attention", "repeats", "star", "click_counts", "edge_counts"),
            *("item_readout", "second_readout"),
        ):
            object.__setattr__(self, name, check_flag(getattr(self, name), name))
        if self.readout_softmax is not None:
            object.__setattr__(self, "readout_softmax", check_flag(self.readout_softmax, "readout_softmax"))
        self._check_scoring()
        object.__setattr__(self, "semantics", as_semantics(self.semantics))
        if self.semantics == "published" and self.padded_length is None:
            raise ValueError(
                "padded_length: expected the length sessions are padded to in 'published' semantics, got None"
            )
        if self.item_readout and (self.hybrid or self.semantics != "clean"):
            given = "hybrid" if self.hybrid else "published semantics"
            raise ValueError(f"item_readout: expected False with {given}, got True")
        if self.second_readout and not self.hybrid:
            raise ValueError("second_readout: expected False without hybrid, got True")
        object.__setattr__(self, "padded_length", check_padded_length(self.padded_length))
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options: expected a dictionary, got {self.options!r}")
        for name, value in self.options.items():
            if not isinstance(name, str) or not isinstance(value, (int, float, str, NoneType)):
                raise TypeError(
                    f"options: expected names and numbers, strings, truth values or None, got {name!r}: {value!r}"
                )
        object.__setattr__(self, "options", dict(self.options))

    def _check_scoring(self) -> None:
        if self.cosine_scale is not None:
            scale = float(check_real(self.cosine_scale, "cosine_scale"))
            if not 0 <= scale < math.inf:
                raise ValueError(f"cosine_scale: expected a finite number of 0 and more, or None, got {scale}")
            object.__setattr__(self, "cosine_scale", scale or None)
        for name in ("learned_scale", "learned_share"):
            if getattr(self, name) and self.cosine_scale is None:
                raise ValueError(f"{name}: expected False without a cosine_scale, got True")
        if not 0 <= self.session_share <= 1 or (self.learned_share and self.session_share in (0, 1)):
            bounds = "between 0 and 1" if self.learned_share else "from 0 to 1"
            raise ValueError(f"session_share: expected a number {bounds}, got {self.session_share}")
        if self.cosine_scale is None and self.session_share != ModelConfig.session_share:
            raise ValueError(f"session_share: expected none without a cosine_scale, got {self.session_share}")
        if not 0 <= self.neighbour_weight < math.inf:
            raise ValueError(f"neighbour_weight: expected a finite number of 0 and more, got {self.neighbour_weight}")
        if self.recency not in (places := get_args(RecencyPlace)):
            raise ValueError(f"recency: expected one of {', '.join(places)}, got {self.recency!r}")


def as_semantics(value: object) -> Semantics:
    """The semantics of that name, "original" among them; raises ValueError on others."""
    for semantics in get_args(Semantics):
        if value == semantics or (isinstance(value, str) and _ALIASES.get(value) == semantics):
            return semantics  # type: ignore[no-any-return]
    raise ValueError(f"semantics: expected 'clean' or 'published', got {value!r}")
