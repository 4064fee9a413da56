"""Everything the published implementations compute: scores, states, losses, gradients and training, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tagnn_fast import from_published
from tagnn_fast.nn.published import published_names
from tagnn_fast.nn.session_model import SessionModel
from tests.support import DEVICES, SHARED, assert_near

GOLDENS = sorted((SHARED / "goldens").glob("*.npz"))
SINGLE_PRECISION = "tagnn_pp_diginetica_shape"

pytestmark = pytest.mark.skipif(not GOLDENS, reason="no goldens")


class Golden:
    """One file: the model it describes, its batch and its numbers."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.name, self.device = path.stem, device
        self.values = {name: torch.from_numpy(value).to(device) for name, value in np.load(path).items()}
        self.architecture = next(name for name in ("tagnn_pp", "tagnn", "sr_gnn") if self.name.startswith(name))
        self.hybrid = self.name.endswith("_hybrid")
        self.dtype = dtype
        self.clicks = self.values["sessions/values"], self.values["sessions/offsets"]
        self.targets = self.values["targets"]
        # The file of single precision holds rounded numbers.
        self.relative = 1e-5 if self.name == SINGLE_PRECISION else 1e-10

    def model(self) -> SessionModel:
        prefix = "param/"
        parameters = {
            name[len(prefix) :]: value.to(self.dtype) for name, value in self.values.items() if name.startswith(prefix)
        }
        model = from_published(
            parameters,
            architecture=self.architecture,
            padded_length=int(self.values["sessions/len_max"]),
            steps=3 if self.name.endswith("three_steps") else 1,
            hybrid=self.hybrid,
        )
        return model.to(self.device).eval()

    def gradients(self) -> dict[str, Tensor]:
        """Published gradients under our parameters' names; parameters that the published code leaves out have none."""
        return {
            name: torch.cat([self.values[f"grad/{part}"] for part in parts]).squeeze()
            for name, parts in published_names(self.architecture, self.hybrid).items()
            if f"grad/{parts[0]}" in self.values
        }


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=GOLDENS, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest, device: str) -> Golden:
    return Golden(request.param, device=device)


def test_scores(golden: Golden) -> None:
    assert_near(golden.model()(*golden.clicks), golden.values["scores"], golden.relative)


def test_topk(golden: Golden) -> None:
    scores, items = golden.model().topk(*golden.clicks, golden.values["topk/items"].shape[1])
    assert torch.equal(items, golden.values["topk/items"])
    assert_near(scores, golden.values["topk/scores"], golden.relative)


def test_loss_and_gradients(golden: Golden) -> None:
    model = golden.model()
    loss = model.loss(*golden.clicks, golden.targets)
    assert_near(loss, golden.values["loss"], golden.relative)
    loss.backward()
    parameters, expected = dict(model.named_parameters()), golden.gradients()
    assert set(expected) == set(parameters), "every parameter of the model has a published gradient"
    for name, gradient in expected.items():
        assert parameters[name].grad is not None
        assert_near(parameters[name].grad.squeeze(), gradient, golden.relative)


def test_hidden_states(golden: Golden) -> None:
    if "hidden/nodes" not in golden.values:
        pytest.skip("the file has no hidden states")
    model = golden.model()
    graph = model.graph(*golden.clicks, None)
    after_gnn = model.propagation(model.item_embedding(graph.node_items), graph)
    after_all = model.transformer(after_gnn, graph) if golden.architecture == "tagnn_pp" else after_gnn
    for session, (first, count) in enumerate(zip(graph.slot_offsets.tolist(), graph.num_nodes.tolist(), strict=False)):
        nodes = slice(first, first + count)
        assert_near(after_gnn[nodes], golden.values["hidden/gnn"][session, :count], 1e-10)
        assert_near(after_all[nodes], golden.values["hidden/nodes"][session, :count], 1e-10)
        begin, end = golden.clicks[1][session : session + 2].tolist()
        clicks = after_all[graph.click_nodes[begin:end]]
        assert_near(clicks, golden.values["hidden/clicks"][session, : end - begin], 1e-10)
        padded = golden.values["hidden/clicks"][session, end - begin :]
        assert_near(after_all[first].expand_as(padded), padded, 1e-10)


def test_training(golden: Golden) -> None:
    if "training/losses" not in golden.values:
        pytest.skip("the file has no training losses")
    model = golden.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    losses = []
    for _ in golden.values["training/losses"]:
        optimizer.zero_grad()
        loss = model.loss(*golden.clicks, golden.targets)
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
    assert_near(torch.stack(losses), golden.values["training/losses"], 1e-10)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_float32_arithmetic(path: Path, device: str) -> None:
    """All of it again, computed in float32.

    Gradients of the readout's query cancel down to rounding (a softmax is blind to a shift of all logits), so
    gradients are compared on the scale of the model's largest.
    """
    golden = Golden(path, torch.float32, device)
    model = golden.model()
    assert_near(model(*golden.clicks), golden.values["scores"], 1e-5)
    loss = model.loss(*golden.clicks, golden.targets)
    assert_near(loss, golden.values["loss"], 1e-5)
    loss.backward()
    expected = golden.gradients()
    scale = max(gradient.abs().max().item() for gradient in expected.values())
    for name, parameter in model.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert (parameter.grad.squeeze() - expected[name]).abs().max().item() <= 1e-5 * scale


@pytest.mark.parametrize(
    "path", [path for path in GOLDENS if path.stem != SINGLE_PRECISION], ids=lambda path: path.stem
)
def test_a_session_scores_the_same_alone(path: Path, device: str) -> None:
    golden = Golden(path, device=device)
    model, (items, offsets) = golden.model(), golden.clicks
    together = model(items, offsets)
    for session in range(offsets.numel() - 1):
        own = items[offsets[session] : offsets[session + 1]]
        alone = model(own, torch.tensor([0, own.numel()], device=device))[0]
        torch.testing.assert_close(alone, together[session], rtol=1e-12, atol=1e-15)
