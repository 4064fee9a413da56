"""What a training session counts by its age."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tagnn_fast.data.sessions import Sessions


def session_weights(sessions: Sessions, scale: float) -> Tensor:
    """exp(-age / scale) of each session, float64 (sessions,): the oldest has age 1, the newest 0.

    Ages are shares of the training period, by the sessions' times; where a data set has no times, as if its sessions
    were spread evenly over the period.

    Args:
        sessions: oldest first.
        scale: in shares of the period; 0: age does not matter.
    """
    if scale == 0:
        return torch.ones(len(sessions), dtype=torch.float64)
    times = sessions.times if sessions.times is not None else torch.arange(len(sessions))
    newest, oldest = times.max(), times.min()
    period = max(int(newest - oldest), 1)
    ages = ((newest - times).double() / period).tolist()
    # Not PyTorch's exp, whose last bit depends on the processor.
    return torch.tensor([math.exp(-age / scale) for age in ages], dtype=torch.float64)
