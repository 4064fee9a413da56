"""Options of the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Literal, get_args

from tagnn_fast.checks import check_count, check_flag, check_padded_length, check_real

Semantics = Literal["clean", "published"]
_ALIASES = {"original": "published"}  # what earlier versions wrote


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and variants of a model, checked when made.

    Attributes:
        num_items: size of the catalogue; item ids are 1..num_items.
        hidden_size: width of item embeddings and node states.
        rounds: rounds of gated propagation over the session graph (1 in the paper). Files and options of earlier
            versions call them `steps`, which is still read.
        heads: attention heads of the Transformer block (TAGNN-PP only, where it must divide hidden_size).
        attention_dropout: rate on the Transformer block's attention weights in training.
        hybrid: project [readout ; last click] to the session vector, instead of the readout alone.
        semantics: "clean", without any padding and with nodes in order of first click; or "published", what the
            published code computes, in which padded positions take part in every softmax and nodes are sorted by id.
            "original", its name in earlier versions, is taken for "published".
        padded_length: clicks that sessions are padded to in "published" semantics (the longest prefix of the data split
            in the published code); unused in "clean". Models also take it per call.
        options: what the constructor of an architecture of one's own takes beside this configuration, by name: numbers,
            strings, truth values or None. The package's own architectures take none.
    """

    num_items: int
    hidden_size: int = 100
    rounds: int = 1
    heads: int = 2
    attention_dropout: float = 0.1
    hybrid: bool = False
    semantics: Semantics = "clean"
    padded_length: int | None = None
    options: Mapping[str, int | float | str | bool | None] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("num_items", "hidden_size", "rounds", "heads"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        object.__setattr__(self, "attention_dropout", check_real(self.attention_dropout, "attention_dropout"))
        if not 0 <= self.attention_dropout < 1:
            raise ValueError(f"attention_dropout: expected a rate in [0, 1), got {self.attention_dropout}")
        object.__setattr__(self, "hybrid", check_flag(self.hybrid, "hybrid"))
        object.__setattr__(self, "semantics", as_semantics(self.semantics))
        if self.semantics == "published" and self.padded_length is None:
            raise ValueError(
                "padded_length: expected the length sessions are padded to in 'published' semantics, got None"
            )
        object.__setattr__(self, "padded_length", check_padded_length(self.padded_length))
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options: expected a dictionary, got {self.options!r}")
        for name, value in self.options.items():
            if not isinstance(name, str) or not isinstance(value, (int, float, str, NoneType)):
                raise TypeError(
                    f"options: expected names and numbers, strings, truth values or None, got {name!r}: {value!r}"
                )
        object.__setattr__(self, "options", dict(self.options))


def as_semantics(value: object) -> Semantics:
    """The semantics of that name, "original" among them; raises ValueError on others."""
    for semantics in get_args(Semantics):
        if value == semantics or (isinstance(value, str) and _ALIASES.get(value) == semantics):
            return semantics  # type: ignore[no-any-return]
    raise ValueError(f"semantics: expected 'clean' or 'published', got {value!r}")
