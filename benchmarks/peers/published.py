"""The published way of computing the model, padded, written anew and as well as it allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tagnn_fast import TAGNNPP


def padded_session_graphs(
    sessions: Sequence[Sequence[int]], padded_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Dense session graphs in NumPy, session by session and click by click, as the published code builds them.

    Returns:
        alias, node of each position, (sessions, padded_length); adjacency, in- and out-averages side by side,
        (sessions, nodes, 2 nodes); items of the nodes, (sessions, nodes); mask of real clicks, (sessions,
        padded_length). `nodes` is the largest number of distinct ids in a session, padding's 0 included.
    """
    padded = [list(session) + [0] * (padded_length - len(session)) for session in sessions]
    most = max(len(np.unique(session)) for session in padded)
    alias, adjacency, items, mask = [], [], [], []
    for session in padded:
        nodes = np.unique(session)
        items.append(nodes.tolist() + [0] * (most - len(nodes)))
        edges = np.zeros((most, most))
        for step in range(padded_length - 1):
            if session[step + 1] == 0:
                break
            sender = np.where(nodes == session[step])[0][0]
            receiver = np.where(nodes == session[step + 1])[0][0]
            edges[sender, receiver] = 1
        in_degree, out_degree = edges.sum(0), edges.sum(1)
        in_degree[in_degree == 0] = 1
        out_degree[out_degree == 0] = 1
        adjacency.append(np.concatenate([(edges / in_degree).T, edges / out_degree[:, None]], 1))
        alias.append([np.where(nodes == item)[0][0] for item in session])
        mask.append([int(item > 0) for item in session])
    return np.array(alias), np.array(adjacency), np.array(items), np.array(mask)


def padded_encoder(
    model: TAGNNPP, nodes: Tensor, adjacency: Tensor, alias: Tensor, mask: Tensor, dropout: float
) -> tuple[Tensor, Tensor]:
    """TAGNN-PP's encoder in "published" semantics on dense, padded tensors.

    Args:
        model: whose weights to use.
        nodes: item embeddings of the nodes, (sessions, nodes, hidden).
        adjacency: (sessions, nodes, 2 nodes).
        alias: node of each position, int64 (sessions, padded length).
        mask: real clicks, (sessions, padded length).
        dropout: rate on the attention weights.

    Returns:
        session vectors, (sessions, hidden); states of the clicks, (sessions, padded length, hidden).
    """
    gnn, transformer, readout = model.propagation, model.transformer, model.readout
    sessions, most, hidden = nodes.shape
    for _ in range(gnn.rounds):
        products = F.linear(nodes, gnn.state_weight, gnn.state_bias)  # (sessions, nodes, 5 hidden)
        incoming, outgoing, state_reset, state_update, state_new = products.chunk(5, 2)
        averages = [adjacency[:, :, :most] @ incoming, adjacency[:, :, most:] @ outgoing]
        messages = torch.cat(averages, 2) + gnn.message_bias  # (sessions, nodes, 2 hidden)
        input_reset, input_update, input_new = F.linear(messages, gnn.weight_ih, gnn.bias_ih).chunk(3, 2)
        reset = torch.sigmoid(input_reset + state_reset)
        update = torch.sigmoid(input_update + state_update)
        candidate = torch.tanh(input_new + reset * state_new)
        nodes = candidate + update * (nodes - candidate)

    qkv = transformer.qkv(nodes).view(sessions, most, 3, transformer.heads, -1).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], dropout_p=dropout, is_causal=True)
    attended = attended.transpose(1, 2).reshape(sessions, most, hidden)
    nodes = transformer.projection(attended) + transformer.norm(nodes)

    clicks = nodes.gather(1, alias.unsqueeze(2).expand(-1, -1, hidden))  # (sessions, padded length, hidden)
    last = clicks[torch.arange(sessions), mask.sum(1) - 1]
    activations = torch.sigmoid(readout.query(last).unsqueeze(1) + readout.key(clicks))
    weights = (activations @ readout.logit_weight).softmax(1)
    return ((weights * mask).unsqueeze(2) * clicks).sum(1), clicks


def padded_target_attention(session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """Scores as the published code computes them: every session's attended vector for every item, in memory.

    Args:
        session: session vectors, (sessions, hidden).
        keys: W_t h of each position, (sessions, padded length, hidden); zeros where there is none.
        values: h of each position, (sessions, padded length, hidden); zeros where there is none.
        table: item vectors, (items, hidden).
    """
    weights = (table @ keys.transpose(1, 2)).softmax(2)  # (sessions, items, padded length)
    attended = weights @ values  # (sessions, items, hidden)
    return ((session.unsqueeze(1) + attended) * table).sum(2)


def padded_positions(rows: Tensor, click_nodes: Tensor, offsets: Tensor, padded_length: int) -> Tensor:
    """Rows of nodes (slots, hidden) at every click of every session, (sessions, padded length, hidden)."""
    clicks = rows[click_nodes].tensor_split(offsets[1:-1])
    return torch.stack([F.pad(part, (0, 0, 0, padded_length - part.shape[0])) for part in clicks])
