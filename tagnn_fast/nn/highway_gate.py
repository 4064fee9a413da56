"""A gate between what the encoder made of a node and the item vector that it was made from."""

import torch
from torch import Tensor, nn


class HighwayGate(nn.Module):
    """g ⊙ v + (1 - g) ⊙ h with g = σ(W [v ; h] + b): the highway of SGNN-HN (Pan et al., CIKM 2020, section 3.3).

    Args:
        hidden_size: width of a node state.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, vectors: Tensor, states: Tensor) -> Tensor:
        """New node states from item vectors v and node states h, all float (slots, hidden)."""
        gate = torch.sigmoid(self.gate(torch.cat([vectors, states], 1)))
        return gate * vectors + (1 - gate) * states
