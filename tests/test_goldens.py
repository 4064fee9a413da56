"""Everything the published implementations compute: scores, states, losses, gradients and training, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tagnn_fast import from_published
from tagnn_fast.nn.published import published_names
from tagnn_fast.nn.session_model import SessionModel
from tests.support import CAPABILITIES, DEVICES, ROOT, assert_near, capability, matmul_precision, shared

FOLDER = ROOT / "tests" / "goldens"
GOLDENS = [
    "sr_gnn_hybrid",
    "sr_gnn_nonhybrid",
    "tagnn_hybrid",
    "tagnn_nonhybrid",
    "tagnn_pp_hybrid",
    "tagnn_pp_nonhybrid",
    "tagnn_pp_three_steps",
]
SINGLE_PRECISION = "tagnn_pp_diginetica_shape"  # rounded, without hidden states and training; too large to be here


class Golden:
    """One file: the model it describes, its batch and its numbers."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.name, self.device = name, device
        path = shared(f"goldens/{name}.npz") if name == SINGLE_PRECISION else FOLDER / f"{name}.npz"
        self.values = {name: torch.from_numpy(value).to(device) for name, value in np.load(path).items()}
        self.architecture = next(name for name in ("tagnn_pp", "tagnn", "sr_gnn") if self.name.startswith(name))
        self.hybrid = self.name.endswith("_hybrid")
        self.dtype = dtype
        self.clicks = self.values["sessions/values"], self.values["sessions/offsets"]
        self.targets = self.values["targets"]
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
            rounds=3 if self.name.endswith("three_steps") else 1,
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


@pytest.fixture(params=GOLDENS)
def golden(request: pytest.FixtureRequest, device: str) -> Golden:
    return Golden(request.param, device=device)


@pytest.fixture(params=[*GOLDENS, SINGLE_PRECISION])
def any_golden(request: pytest.FixtureRequest, device: str) -> Golden:
    return Golden(request.param, device=device)


def test_scores(any_golden: Golden) -> None:
    assert_near(any_golden.model()(*any_golden.clicks), any_golden.values["scores"], any_golden.relative)


def test_topk(any_golden: Golden) -> None:
    scores, items = any_golden.model().topk(*any_golden.clicks, any_golden.values["topk/items"].shape[1])
    assert torch.equal(items, any_golden.values["topk/items"])
    assert_near(scores, any_golden.values["topk/scores"], any_golden.relative)


def test_loss_and_gradients(any_golden: Golden) -> None:
    model = any_golden.model()
    loss = model.loss(*any_golden.clicks, any_golden.targets)
    assert_near(loss, any_golden.values["loss"], any_golden.relative)
    loss.backward()
    parameters, expected = dict(model.named_parameters()), any_golden.gradients()
    assert set(expected) == set(parameters), "every parameter of the model has a published gradient"
    for name, gradient in expected.items():
        assert parameters[name].grad is not None
        assert_near(parameters[name].grad.squeeze(), gradient, any_golden.relative)


def test_hidden_states(golden: Golden) -> None:
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


def assert_near_in_float32(golden: Golden, bound: float) -> None:
    """All of it again, computed in float32.

    Gradients of the readout's query cancel down to rounding (a softmax is blind to a shift of all logits), so
    gradients are compared on the scale of the model's largest.
    """
    model = golden.model()
    assert_near(model(*golden.clicks), golden.values["scores"], bound)
    loss = model.loss(*golden.clicks, golden.targets)
    assert_near(loss, golden.values["loss"], bound)
    loss.backward()
    expected = golden.gradients()
    scale = max(gradient.abs().max().item() for gradient in expected.values())
    for name, parameter in model.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert (parameter.grad.squeeze() - expected[name]).abs().max().item() <= bound * scale


@pytest.mark.parametrize("name", [*GOLDENS, SINGLE_PRECISION])
def test_float32_arithmetic(name: str, device: str) -> None:
    assert_near_in_float32(Golden(name, torch.float32, device), 1e-5)


@pytest.mark.filterwarnings("ignore:tagnn_fast. target attention stays in float32")
@pytest.mark.parametrize("instruction_set", CAPABILITIES)
@pytest.mark.parametrize(("precision", "bound"), [("high", 1e-4), ("medium", 1e-2)])
@pytest.mark.parametrize("name", [*GOLDENS, SINGLE_PRECISION])
def test_matrix_precision(name: str, precision: str, bound: float, instruction_set: str) -> None:
    with capability(instruction_set), matmul_precision(precision):
        assert_near_in_float32(Golden(name, torch.float32), bound)


def test_a_session_scores_the_same_alone(golden: Golden, device: str) -> None:
    model, (items, offsets) = golden.model(), golden.clicks
    together = model(items, offsets)
    for session in range(offsets.numel() - 1):
        own = items[offsets[session] : offsets[session + 1]]
        alone = model(own, torch.tensor([0, own.numel()], device=device))[0]
        torch.testing.assert_close(alone, together[session], rtol=1e-12, atol=1e-15)
