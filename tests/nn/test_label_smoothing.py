"""Label smoothing against PyTorch's own, over all items and by draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn.session_model import SessionModel
from tests.support import assert_near, random_sessions

CONFIG = ModelConfig(num_items=30, hidden_size=8)
CLICKS = [[3, 9, 3], [5], *random_sessions((7, 1, 12, 2, 25), items=30)]
CASES = pytest.mark.parametrize(
    ("model", "options"),
    [
        (TAGNNPP, {}),
        (TAGNN, {"semantics": "published", "padded_length": 5}),
        (SRGNN, {"repeats": True}),
        (TAGNNPP, {"repeats": True, "cosine_scale": 12.0, "neighbour_weight": 0.5}),
    ],
    ids=str,
)


def make(model: type[SessionModel], options: dict[str, Any]) -> tuple[SessionModel, SessionBatch, Tensor]:
    torch.manual_seed(0)
    network = model(replace(CONFIG, **options)).double().eval()
    clicks = SessionBatch.from_lists(CLICKS)
    network.learn_neighbours(*clicks)
    if network.repeats is not None:
        torch.nn.init.normal_(network.repeats.logits)
    return network, clicks, torch.tensor([3, 6, 30, 1, 2, 17, 9])


@CASES
def test_all_items(model: type[SessionModel], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With each item drawn once, losses and gradients are PyTorch's."""
    network, clicks, targets = make(model, options)
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.arange(low, high))
    losses = network.losses(*clicks, targets, label_smoothing=0.3)
    wanted = cross_entropy(network(*clicks), targets - 1, reduction="none", label_smoothing=0.3)
    assert_near(losses.detach(), wanted.detach(), 1e-10)
    parameters = [value for value in network.parameters() if value.requires_grad]
    weights = torch.arange(1.0, len(CLICKS) + 1, dtype=torch.float64)
    found = torch.autograd.grad((losses * weights).sum(), parameters)
    for gradient, right in zip(found, torch.autograd.grad((wanted * weights).sum(), parameters), strict=True):
        assert_near(gradient, right, 1e-9)


def test_draws() -> None:
    """Right on average, and not every time; none without smoothing."""
    network, clicks, targets = make(TAGNNPP, {})
    with torch.no_grad():
        wanted = cross_entropy(network(*clicks), targets - 1, reduction="none", label_smoothing=0.3)
        draws = torch.stack([network.losses(*clicks, targets, label_smoothing=0.3) for _ in range(400)])
        error = draws.std(0) / len(draws) ** 0.5
        assert bool(((draws.mean(0) - wanted).abs() < 5 * error).all())
        assert float(error.min()) > 0
        before = torch.get_rng_state()
        network.losses(*clicks, targets)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_target_that_is_no_item() -> None:
    network, clicks, targets = make(TAGNNPP, {})
    targets[1], targets[2] = 0, 31
    losses = network.losses(*clicks, targets, label_smoothing=0.3)
    assert losses.isnan().tolist() == [number in (1, 2) for number in range(len(CLICKS))]
