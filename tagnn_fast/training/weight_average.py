"""An average of a model's weights over the steps of its training."""

from __future__ import annotations

import copy

import torch

from tagnn_fast.nn.session_model import SessionModel


class WeightAverage:
    """Exponential moving average W ← β W + (1 - β) parameters, from W = 0; what is read is W / (1 - βⁿ) after n steps.

    Args:
        model: whose parameters are averaged, those that are trained.
        decay: β, below 1.
    """

    def __init__(self, model: SessionModel, decay: float) -> None:
        self.model, self.decay = model, decay
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.sums = {name: torch.zeros_like(value) for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after a step; waits for no GPU."""
        torch._foreach_lerp_(list(self.sums.values()), list(self.parameters.values()), 1 - self.decay)

    @torch.no_grad()
    def averaged(self, steps: int) -> SessionModel:
        """A copy of the model with the average after so many steps, 1 or more."""
        model = copy.deepcopy(self.model)
        for name, value in model.named_parameters():
            if name in self.sums:
                value.copy_(self.sums[name] / (1 - self.decay**steps))
        return model
