"""One way to time forward and backward, for every peer alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def training_step(
    function: Callable[[Tensor], Tensor], nodes: Tensor, parameters: Sequence[Tensor]
) -> Callable[[], None]:
    """A call that runs function(nodes) and its backward into `nodes` and `parameters`, gradients dropped afterwards."""
    nodes = nodes.detach().requires_grad_()
    weight = torch.randn_like(function(nodes))

    def step() -> None:
        function(nodes).backward(weight)
        for leaf in (nodes, *parameters):
            leaf.grad = None

    return step
