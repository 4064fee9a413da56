"""The networks' scores of one session in NumPy, float64, node by node: equations of the papers, without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

Weights = Mapping[str, np.ndarray]


def scores(weights: Weights, session: Sequence[int], architecture: str, rounds: int, heads: int) -> np.ndarray:
    """Of all items, for a session of known items, numbered from 1."""
    table = weights["item_embedding.weight"]
    nodes = list(dict.fromkeys(session))  # in order of first click
    states = propagated(weights, np.array([table[item] for item in nodes]), nodes, session, rounds)
    if architecture == "tagnn_pp":
        states = transformed(weights, states, heads)
    of_click = np.array([states[nodes.index(item)] for item in session])  # (clicks, hidden)
    vector = read_out(weights, of_click, normalize=architecture != "sr_gnn")
    result = []
    for item in table[1:]:
        score = vector @ item
        if architecture != "sr_gnn":
            attention = softmax(of_click @ weights["target_projection.weight"].T @ item)
            score += attention @ (of_click @ item)
        result.append(score)
    return np.array(result)


def propagated(w: Weights, states: np.ndarray, nodes: list[int], session: Sequence[int], rounds: int) -> np.ndarray:
    hidden = states.shape[1]
    edges = set(pairwise(session))
    come_from = [[nodes.index(a) for a, b in edges if b == node] for node in nodes]
    go_to = [[nodes.index(b) for a, b in edges if a == node] for node in nodes]
    for _ in range(rounds):
        product = states @ w["propagation.state_weight"].T + w["propagation.state_bias"]
        parts = np.split(product, 5, axis=1)
        inside = [parts[0][others].mean(0) if others else np.zeros(hidden) for others in come_from]
        outside = [parts[1][others].mean(0) if others else np.zeros(hidden) for others in go_to]
        message = np.concatenate([inside, outside], 1) + w["propagation.message_bias"]
        gates = np.split(message @ w["propagation.weight_ih"].T + w["propagation.bias_ih"], 3, axis=1)
        reset, update = sigmoid(gates[0] + parts[2]), sigmoid(gates[1] + parts[3])
        new = np.tanh(gates[2] + reset * parts[4])
        states = new + update * (states - new)
    return states


def transformed(w: Weights, states: np.ndarray, heads: int) -> np.ndarray:
    query, key, value = np.split(states @ w["transformer.qkv.weight"].T + w["transformer.qkv.bias"], 3, axis=1)
    width = states.shape[1] // heads
    attended = np.zeros_like(states)
    for head in range(heads):
        part = slice(head * width, head * width + width)
        for node in range(len(states)):
            logits = key[: node + 1, part] @ query[node, part] / np.sqrt(width)
            attended[node, part] = softmax(logits) @ value[: node + 1, part]
    out = attended @ w["transformer.projection.weight"].T + w["transformer.projection.bias"]
    normal = (states - states.mean(1, keepdims=True)) / np.sqrt(states.var(1, keepdims=True) + 1e-5)
    return out + normal * w["transformer.norm.weight"] + w["transformer.norm.bias"]


def read_out(w: Weights, of_click: np.ndarray, normalize: bool) -> np.ndarray:
    last = of_click[-1]
    query = last @ w["readout.query.weight"].T + w["readout.query.bias"]
    logits = sigmoid(query + of_click @ w["readout.key.weight"].T + w["readout.key.bias"]) @ w["readout.logit_weight"]
    pooled = (softmax(logits) if normalize else logits) @ of_click
    if "readout.projection.weight" not in w:
        return np.asarray(pooled)
    both = np.concatenate([pooled, last])
    return np.asarray(both @ w["readout.projection.weight"].T + w["readout.projection.bias"])


def softmax(logits: np.ndarray) -> np.ndarray:
    terms = np.exp(logits - logits.max())
    return np.asarray(terms / terms.sum())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
