"""The attention-enhanced GNN against its equations, written out for one session."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from tagnn_fast import ModelConfig, SessionBatch
from tagnn_fast.nn import AttentionEnhancedGNN
from tagnn_fast.ops import session_graph
from tests.support import random_sessions

CONFIG = ModelConfig(num_items=40, hidden_size=12, heads=3)
SESSIONS = [[3, 9, 3], [5], [7, 7], *random_sessions((1, 6, 15), items=40)]


def make(layers: int) -> AttentionEnhancedGNN:
    torch.manual_seed(0)
    return AttentionEnhancedGNN(CONFIG, layers).double().eval()


def self_attention(states: Tensor, layer: torch.nn.Module, heads: int) -> Tensor:
    """Causal attention over a sequence of states (clicks, hidden), then the feed-forward part."""
    attention, clicks = layer.attention, states.shape[0]
    parts = linear(states, attention.qkv.weight, attention.qkv.bias).view(clicks, 3, heads, -1).permute(1, 2, 0, 3)
    query, key, value = parts  # each (heads, clicks, hidden / heads)
    logits = query @ key.mT / key.shape[2] ** 0.5  # (heads, clicks, clicks)
    logits = logits.masked_fill(torch.ones(clicks, clicks).triu(1).bool(), -torch.inf)
    mixed = (logits.softmax(2) @ value).transpose(0, 1).reshape(clicks, -1)  # (clicks, hidden)
    normed = layer_norm(states, states.shape[1:], attention.norm.weight, attention.norm.bias)
    attended = attention.projection(mixed) + normed
    return attended + layer.outer(layer.inner(attended).relu())


@pytest.mark.parametrize("layers", [1, 3])
def test_definition(layers: int) -> None:
    model = make(layers)
    actual = model(*SessionBatch.from_lists(SESSIONS))
    vectors = model.item_embedding.weight[1:]
    for session, scores in zip(SESSIONS, actual, strict=True):
        batch = SessionBatch.from_lists([session])
        graph = session_graph(*batch)
        nodes = model.propagation(model.item_embedding(graph.node_items), graph)  # (nodes, hidden)
        clicks = nodes[graph.click_nodes]  # (clicks, hidden)
        states = clicks
        for layer in model.click_attention:
            states = self_attention(states, layer, CONFIG.heads)
        rest = model.session_projection(torch.cat([states[-1], clicks[-1]]))  # (hidden,)
        weights = (clicks @ model.target_projection.weight.T @ vectors.T).softmax(0)  # (clicks, items)
        target = weights.T @ clicks  # (items, hidden)
        expected = ((rest + target @ model.value_projection.weight.T) * vectors).sum(1)
        torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-12)


def test_gradients() -> None:
    """All parameters have one, as finite differences have it."""
    model = make(2).train()
    model.click_attention[0].attention.dropout = model.click_attention[1].attention.dropout = 0.0
    batch, targets = SessionBatch.from_lists(SESSIONS), torch.arange(1, len(SESSIONS) + 1)
    model.loss(*batch, targets).backward()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        place = int(torch.randint(parameter.numel(), (1,), generator=generator))
        sides = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.view(-1)[place] += step
                sides.append(float(model.loss(*batch, targets)))
                parameter.view(-1)[place] -= step
        assert parameter.grad.view(-1)[place].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "layers", "message"),
    [
        (
            {"semantics": "published", "padded_length": 9},
            1,
            "semantics: expected clean with AttentionEnhancedGNN, got published",
        ),
        ({"readout_softmax": True}, 1, "readout_softmax: expected none with a network that does not use it, got True"),
        ({}, 0, "layers: expected 1 or more, got 0"),
    ],
)
def test_errors(options: dict[str, object], layers: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        AttentionEnhancedGNN(ModelConfig(9, 8, **options), layers)  # type: ignore[arg-type]
    assert str(error.value) == message
