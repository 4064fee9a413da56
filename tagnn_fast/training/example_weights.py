"""What each training example's loss counts."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples


def weights_by_age(examples: PrefixExamples, half_life: float) -> Tensor:
    """2^(-age / half_life), divided by the mean: float32 (examples,).

    Args:
        examples: of sessions in the order of time.
        half_life: above 0; ages are shares of the sessions that are newer than the example's.
    """
    count = len(examples.sessions)
    ages = (count - 1 - examples.session_numbers()).double() / count
    weights = torch.exp2(-ages / half_life)
    return (weights / weights.mean()).float()
