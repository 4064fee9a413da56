"""Weights of the published implementations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP

_EDGES = ("linear_edge_in.weight", "linear_edge_out.weight")
_EDGE_BIASES = ("linear_edge_in.bias", "linear_edge_out.bias")
# Ours on the left; the published names that are stacked into it on the right.
_READOUT = {
    "item_embedding.weight": ("embedding.weight",),
    "readout.query.weight": ("linear_one.weight",),
    "readout.query.bias": ("linear_one.bias",),
    "readout.key.weight": ("linear_two.weight",),
    "readout.key.bias": ("linear_two.bias",),
    "readout.logit_weight": ("linear_three.weight",),
}
_HYBRID = {
    "readout.projection.weight": ("linear_transform.weight",),
    "readout.projection.bias": ("linear_transform.bias",),
}
_TARGET: dict[str, tuple[str, ...]] = {"target_projection.weight": ("linear_t.weight",)}
_TRANSFORMER = {
    "transformer.norm.weight": ("layer_norm1.weight",),
    "transformer.norm.bias": ("layer_norm1.bias",),
    "transformer.qkv.weight": ("attn.in_proj_weight",),
    "transformer.qkv.bias": ("attn.in_proj_bias",),
    "transformer.projection.weight": ("attn.out_proj.weight",),
    "transformer.projection.bias": ("attn.out_proj.bias",),
}


# The class, its name for the gated graph network, and what it has beside that and the readout.
_PUBLISHED: dict[str, tuple[type[SessionModel], str, dict[str, tuple[str, ...]]]] = {
    "tagnn_pp": (TAGNNPP, "tagnn", {**_TARGET, **_TRANSFORMER}),
    "tagnn": (TAGNN, "gnn", _TARGET),
    "sr_gnn": (SRGNN, "gnn", {}),
}
PublishedArchitecture = Literal["tagnn_pp", "tagnn", "sr_gnn"]


def published_names(architecture: PublishedArchitecture, hybrid: bool = False) -> dict[str, tuple[str, ...]]:
    """For each parameter of our model, the published parameters that are stacked (along rows) into it."""
    if architecture not in _PUBLISHED:
        raise ValueError(f"architecture: expected one of {', '.join(_PUBLISHED)}, got {architecture!r}")
    _, gnn, more = _PUBLISHED[architecture]
    names = {
        **_READOUT,
        **more,
        "propagation.state_weight": tuple(f"{gnn}.{name}" for name in (*_EDGES, "w_hh")),
        "propagation.state_bias": tuple(f"{gnn}.{name}" for name in (*_EDGE_BIASES, "b_hh")),
        "propagation.message_bias": (f"{gnn}.b_iah", f"{gnn}.b_oah"),
        "propagation.weight_ih": (f"{gnn}.w_ih",),
        "propagation.bias_ih": (f"{gnn}.b_ih",),
    }
    if hybrid:
        names.update(_HYBRID)
    return names


def from_published(
    params: Mapping[str, Tensor],
    *,
    architecture: PublishedArchitecture,
    padded_length: int,
    rounds: int = 1,
    hybrid: bool = False,
) -> SessionModel:
    """A model with the weights of a published implementation, in "published" semantics and the weights' dtype.

    Args:
        params: tensors under their published names; names that the model does not use are ignored.
        architecture: "tagnn_pp", "tagnn" or "sr_gnn".
        padded_length: the length that the published code pads sessions to, its data split's longest.
        rounds: rounds of propagation.
        hybrid: whether the published model was trained with the [readout ; last click] projection.

    Raises:
        ValueError: on an unknown architecture, a missing parameter or one of a wrong shape.
    """
    names = published_names(architecture, hybrid)
    missing = sorted({name for parts in names.values() for name in parts} - set(params))
    if missing:
        raise ValueError(f"params: expected the parameters of {architecture}, missing {', '.join(missing)}")
    table = params["embedding.weight"]
    if table.dim() != 2 or table.shape[0] < 2:
        raise ValueError(f"params: expected embedding.weight of shape (items + 1, hidden), got {tuple(table.shape)}")
    config = ModelConfig(
        num_items=table.shape[0] - 1,
        hidden_size=table.shape[1],
        rounds=rounds,
        hybrid=hybrid,
        semantics="published",
        padded_length=padded_length,
    )
    model = _PUBLISHED[architecture][0](config).to(table.dtype)
    state = model.state_dict()
    for name, parts in names.items():
        expected = (1, *state[name].shape) if name == "readout.logit_weight" else tuple(state[name].shape)
        shapes = [tuple(params[part].shape) for part in parts]
        if sum(shape[0] for shape in shapes) != expected[0] or any(shape[1:] != expected[1:] for shape in shapes):
            raise ValueError(f"params: expected {' and '.join(parts)} of shape {expected} together, got {shapes}")
        value = torch.cat([params[part] for part in parts])
        state[name] = value.reshape(state[name].shape)
    model.load_state_dict(state)
    return model
