"""The gated graph network (SR-GNN, equations 1-5)."""

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.star_node import StarNode
from tagnn_fast.ops.graph import PropagationParameters, SessionGraph


class GatedPropagation(nn.Module):
    """Rounds of gated propagation over the session graph.

    Args:
        hidden_size: width of a node state.
        rounds: how many.
        star: whether a star node takes part after each, see :class:`~tagnn_fast.nn.star_node.StarNode`.
    """

    def __init__(self, hidden_size: int, rounds: int = 1, star: bool = False) -> None:
        super().__init__()
        self.rounds = rounds
        # Blocks of hidden rows: sent along in-edges, along out-edges, then the gates reset, update, candidate.
        self.state_weight = nn.Parameter(torch.empty(5 * hidden_size, hidden_size))  # (5 hidden, hidden)
        self.state_bias = nn.Parameter(torch.empty(5 * hidden_size))  # (5 hidden,)
        self.message_bias = nn.Parameter(torch.empty(2 * hidden_size))  # (2 hidden,), added after the averages
        self.weight_ih = nn.Parameter(
            torch.empty(3 * hidden_size, 2 * hidden_size)
        )  # (3 hidden, 2 hidden), of messages
        self.bias_ih = nn.Parameter(torch.empty(3 * hidden_size))  # (3 hidden,)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)
        self.star = StarNode(hidden_size, rounds > 1) if star else None

    def op_parameters(self) -> PropagationParameters:
        """For :func:`tagnn_fast.ops.encode_sessions`."""
        return PropagationParameters(
            self.state_weight, self.state_bias, self.message_bias, self.weight_ih, self.bias_ih, self.rounds
        )

    def forward(self, nodes: Tensor, graph: SessionGraph) -> Tensor:
        """New node states, float (slots, hidden), from the old; zeros in empty slots, any with a star node."""
        if self.star is None:
            return self._rounds(nodes, graph, self.rounds)
        star = self.star.begin(nodes, graph)  # (sessions, hidden)
        for _ in range(self.rounds):
            nodes = self.star(self._rounds(nodes, graph, 1), star, graph)
            star = self.star.move(nodes, star, graph)
        return nodes

    def _rounds(self, nodes: Tensor, graph: SessionGraph, rounds: int) -> Tensor:
        return ops.gated_propagation(
            nodes,
            graph,
            self.state_weight,
            self.state_bias,
            self.message_bias,
            self.weight_ih,
            self.bias_ih,
            rounds,
        )
