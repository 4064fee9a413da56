"""from_published refuses what is not a published model."""

import pytest
import torch
from torch import Tensor

from tagnn_fast import SRGNN, from_published
from tagnn_fast.nn.published import published_names


def parameters(hidden: int = 4) -> dict[str, Tensor]:
    """Parameters of a published SR-GNN."""
    shapes = {
        "embedding.weight": (8, hidden),
        "gnn.w_ih": (3 * hidden, 2 * hidden),
        "gnn.w_hh": (3 * hidden, hidden),
        "linear_three.weight": (1, hidden),
    }
    for name in {part for parts in published_names("sr_gnn").values() for part in parts}:
        if "bias" in name or name.startswith("gnn.b_"):
            shapes.setdefault(name, (3 * hidden,) if name in ("gnn.b_ih", "gnn.b_hh") else (hidden,))
        shapes.setdefault(name, (hidden, hidden))
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_unused_parameters_are_ignored() -> None:
    model = from_published({**parameters(), "other": torch.ones(1)}, architecture="sr_gnn", padded_length=9)
    assert isinstance(model, SRGNN)
    assert model.config.num_items == 7
    assert model.config.semantics == "published"


def test_missing_parameter() -> None:
    incomplete = parameters()
    del incomplete["gnn.w_hh"]
    with pytest.raises(ValueError, match=r"^params: expected the parameters of sr_gnn, missing gnn\.w_hh$"):
        from_published(incomplete, architecture="sr_gnn", padded_length=9)


def test_wrong_shape() -> None:
    wrong = {**parameters(), "gnn.w_ih": torch.zeros(12, 4)}
    with pytest.raises(ValueError, match=r"gnn\.w_ih of shape \(12, 8\) together, got \[\(12, 4\)\]"):
        from_published(wrong, architecture="sr_gnn", padded_length=9)
    with pytest.raises(ValueError, match=r"gnn\.w_hh of shape \(20, 4\) together"):
        from_published({**parameters(), "gnn.w_hh": torch.zeros(12, 5)}, architecture="sr_gnn", padded_length=9)


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="^architecture: expected one of tagnn_pp, tagnn, sr_gnn, got 'gru4rec'$"):
        from_published(parameters(), architecture="gru4rec", padded_length=9)
