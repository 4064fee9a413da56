"""Gradients that are long beside what they change."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_SHORTEST = 1e-3  # of a unit, so that one of zeros can still learn


@torch.no_grad()
def clip_units(parameters: Iterable[Tensor], most: float) -> None:
    """Bring the gradient of each unit down to `most` times the unit's own length, where it is longer.

    Adaptive gradient clipping (Brock et al., "High-performance large-scale image recognition without normalization",
    ICML 2021, equation 3). Units are rows, of item vectors as well, or a whole vector such as a bias; one shorter than
    1e-3 counts as that long. Waits for no GPU.

    Args:
        parameters: whose gradients are changed; those without one are left alone.
        most: λ, above 0.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            longest = _lengths(parameter).clamp_min(_SHORTEST) * most
            parameter.grad.mul_((longest / _lengths(parameter.grad).clamp_min(1e-12)).clamp_max(1))


def _lengths(values: Tensor) -> Tensor:
    """Of each row, (rows, 1, ...), or of a whole vector, ()."""
    rows = values.dim() > 1
    lengths: Tensor = torch.linalg.vector_norm(
        values, dim=tuple(range(1, values.dim())) if rows else None, keepdim=rows
    )
    return lengths
