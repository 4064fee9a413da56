"""A number that is not finite is never answered: a model with one is refused, and so is an answer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

NOT_FINITE = "scores: expected finite numbers, got NaN or infinity: training diverged"


def check_finite(values: Iterable[tuple[str, Tensor]]) -> None:
    """Check named parameters.

    Raises:
        ValueError: on one with NaN or infinity, with its name and the first place.
    """
    for name, value in values:
        if not value.is_floating_point():
            continue
        finite = value.isfinite()
        if not bool(finite.all()):
            place = (~finite).nonzero()[0]
            raise ValueError(f"{name}: expected finite numbers, got {value[tuple(place)].item()} at {place.tolist()}")
