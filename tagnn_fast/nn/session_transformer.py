"""The Transformer block of TAGNN++ (section 3.3)."""

from typing import Optional

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.ops.graph import AttentionParameters, SessionGraph


class SessionTransformer(nn.Module):
    """Causal self-attention among a session's nodes; the residual is the layer norm of the input.

    Args:
        hidden_size: width of a node state.
        heads: attention heads; must divide hidden_size.
        dropout: rate on the attention weights in training.
    """

    def __init__(self, hidden_size: int, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        if hidden_size % heads != 0:
            raise ValueError(f"heads: expected a divisor of hidden_size {hidden_size}, got {heads}")
        self.heads = heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)  # queries, keys, values, one below the other
        self.projection = nn.Linear(hidden_size, hidden_size)

    def op_parameters(self) -> AttentionParameters:
        """For :func:`tagnn_fast.ops.encode_sessions`."""
        return AttentionParameters(
            self.qkv.weight,
            self.qkv.bias,
            self.projection.weight,
            self.projection.bias,
            self.norm.weight,
            self.norm.bias,
            self.heads,
        )

    def forward(self, nodes: Tensor, graph: SessionGraph) -> Tensor:
        """New node states, float (slots, hidden); zeros in empty slots."""
        dropout = self.dropout if self.training else 0.0
        seed: Optional[Tensor] = None
        if dropout > 0.0:
            seed = torch.randint(1 << 62, (1,), device=nodes.device)  # (1,)
        return ops.session_attention(
            nodes,
            graph,
            self.qkv.weight,
            self.qkv.bias,
            self.projection.weight,
            self.projection.bias,
            self.norm.weight,
            self.norm.bias,
            self.heads,
            True,
            dropout,
            seed,
        )
