"""From node states to one vector per session (SR-GNN, equations 6-7; TAGNN, equation 9)."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.ops.graph import ReadoutParameters, SessionGraph


class SessionReadout(nn.Module):
    """Soft attention over the clicks, seen from the last one.

    Args:
        hidden_size: width of a node state.
        normalize: softmax of the attention (TAGNN) or its plain values (SR-GNN).
        hybrid: project [pooled ; last click], instead of the pooled vector alone.
    """

    def __init__(self, hidden_size: int, normalize: bool, hybrid: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        bound = hidden_size**-0.5
        self.logit_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))  # (hidden,)
        self.projection = nn.Linear(2 * hidden_size, hidden_size) if hybrid else None

    def op_parameters(self) -> ReadoutParameters:
        """For :func:`tagnn_fast.ops.encode_sessions`."""
        hybrid_weight: Optional[Tensor] = None
        hybrid_bias: Optional[Tensor] = None
        if self.projection is not None:
            hybrid_weight, hybrid_bias = self.projection.weight, self.projection.bias
        return ReadoutParameters(
            self.query.weight,
            self.query.bias,
            self.key.weight,
            self.key.bias,
            self.logit_weight,
            self.normalize,
            hybrid_weight,
            hybrid_bias,
        )

    def forward(self, nodes: Tensor, graph: SessionGraph) -> Tensor:
        """Session vectors, float (sessions, hidden)."""
        pooled, last_click = ops.session_readout(
            nodes,
            graph,
            self.query.weight,
            self.query.bias,
            self.key.weight,
            self.key.bias,
            self.logit_weight,
            self.normalize,
        )
        if self.projection is None:
            return pooled  # (sessions, hidden)
        return self.projection(torch.cat([pooled, last_click], 1))  # type: ignore[no-any-return]
