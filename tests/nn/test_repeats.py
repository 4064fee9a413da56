"""Logits of items that a session has clicked, against scores with them added one by one, in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tagnn_fast import SRGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.repeats import COUNTS, PLACES, Repeats, losses_with_repeats, scores_of_each_row
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops.graph import encoded_without_nodes
from tagnn_fast.ops.library import plain_definitions
from tests.support import SESSIONS, assert_near, batch, random_sessions

CONFIG = ModelConfig(num_items=30, hidden_size=8, repeats=True)
CLICKS = [[3, 9, 3], [5], [7, 7, 7, 7, 7, 7], *random_sessions((7, 1, 12, 2, 25), items=30)]
CASES = pytest.mark.parametrize(
    ("model", "options"),
    [
        (TAGNNPP, {}),
        (TAGNNPP, {"cosine_scale": 12.0}),
        (TAGNNPP, {"semantics": "published", "padded_length": 9}),
        (SRGNN, {}),
    ],
)


def make(model: type[SessionModel] = TAGNNPP, spread: float = 2.0, **options: Any) -> SessionModel:
    torch.manual_seed(0)
    network = model(replace(CONFIG, **options)).double().eval()
    assert network.repeats is not None
    torch.nn.init.normal_(network.repeats.logits, std=spread)
    return network


def plain_logits(network: SessionModel, sessions: list[list[int]]) -> Tensor:
    """What is added to each score, float64 (sessions, items)."""
    assert network.repeats is not None
    table = network.repeats.logits.view(COUNTS, PLACES)
    if not sessions:
        return table.new_zeros(0, network.config.num_items)
    added = [[table.new_zeros(()) for _ in range(network.config.num_items)] for _ in sessions]
    for line, session in zip(added, sessions, strict=True):
        recent = [item for item in session if item][::-1][:PLACES]
        for item in set(recent):
            line[item - 1] = table[min(recent.count(item), COUNTS) - 1, recent.index(item)]
    return torch.stack([torch.stack(line) for line in added])


def plain_scores(network: SessionModel, sessions: list[list[int]]) -> Tensor:
    repeats, network.repeats = network.repeats, None
    scores = network(*SessionBatch.from_lists(sessions))
    network.repeats = repeats
    return scores + plain_logits(network, sessions)


@pytest.mark.parametrize("name", SESSIONS)
def test_what_is_repeated(name: str) -> None:
    """Skipped clicks, and those behind the last session, do not count."""
    network = make()
    items, offsets = batch(SESSIONS[name])
    repeats = network.repeats_of(torch.cat([items, torch.tensor([4, 0, 4])]), offsets)
    assert repeats is not None
    width = max(map(max, filter(None, SESSIONS[name])), default=1)
    network.config = replace(CONFIG, num_items=max(width, 1))
    found = torch.zeros(len(SESSIONS[name]), network.config.num_items, dtype=torch.float64)
    found = found.scatter_add(1, repeats.rows.clamp(min=0), repeats.logits)
    assert torch.equal(found, plain_logits(network, SESSIONS[name]))


@CASES
def test_scores_and_losses(model: type[SessionModel], options: dict[str, Any]) -> None:
    network, clicks = make(model, **options), SessionBatch.from_lists(CLICKS)
    expected = plain_scores(network, CLICKS)
    assert_near(network(*clicks).detach(), expected.detach(), 1e-12)
    targets = torch.tensor([session[-1] for session in CLICKS])  # clicked before,
    targets[1::2] = targets[1::2] % 30 + 1  # or not
    losses = network.losses(*clicks, targets)
    wanted = torch.nn.functional.cross_entropy(expected, targets - 1, reduction="none")
    assert_near(losses.detach(), wanted.detach(), 1e-10)
    weights = torch.arange(1.0, len(CLICKS) + 1, dtype=torch.float64)
    parameters = [value for value in network.parameters() if value.requires_grad]
    found = torch.autograd.grad((losses * weights).sum(), parameters)
    for gradient, right in zip(found, torch.autograd.grad((wanted * weights).sum(), parameters), strict=True):
        assert_near(gradient, right, 1e-9)
    encoded = network.encode(*clicks)
    rows = torch.randint(30, (len(CLICKS), 5))
    network.repeats = None
    assert_near(scores_of_each_row(encoded, network.item_vectors(), rows), network(*clicks).gather(1, rows), 1e-12)


def test_gradient_of_the_logits() -> None:
    network, clicks = make(), SessionBatch.from_lists(CLICKS[:4])
    targets = torch.tensor([9, 5, 8, 1])
    logits = network.repeats.logits  # type: ignore[union-attr]

    def losses(values: Tensor) -> Tensor:
        return torch.func.functional_call(network, {"repeats.logits": values}, (*clicks,), {})

    assert torch.autograd.gradcheck(losses, (logits.detach().clone().requires_grad_(),))
    network.losses(*clicks, targets).sum().backward()
    assert logits.grad is not None
    for place in range(3):  # by differences
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                logits[place] += step
                values.append(float(network.losses(*clicks, targets).sum()))
                logits[place] -= step
        assert float(logits.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("exclude_clicked", [False, True])
@pytest.mark.parametrize("choose", [False, True])
@CASES
def test_lists(model: type[SessionModel], options: dict[str, Any], choose: bool, exclude_clicked: bool) -> None:
    """By the native ops, and by the definitions."""
    check_lists(model, options, choose, exclude_clicked)
    with plain_definitions():
        check_lists(model, options, choose, exclude_clicked)


def check_lists(model: type[SessionModel], options: dict[str, Any], choose: bool, exclude_clicked: bool) -> None:
    network, clicks = make(model, **options), SessionBatch.from_lists(CLICKS)
    scores = plain_scores(network, CLICKS).detach()
    candidates = torch.tensor([7, 30, 3, 2, 9, 11, 5]) if choose else None
    if choose:
        scores[:, [item - 1 for item in range(1, 31) if item not in candidates.tolist()]] = -torch.inf  # type: ignore[union-attr]
    if exclude_clicked:
        for line, session in zip(scores, CLICKS, strict=True):
            line[[item - 1 for item in session]] = -torch.inf
    best, items = network.topk(*clicks, 9, candidates=candidates, exclude_clicked=exclude_clicked)
    expected, rows = scores.sort(dim=1, descending=True, stable=True)
    expected, rows = expected[:, :9], rows[:, :9]
    rows = torch.where(expected == -torch.inf, -1, rows)
    assert torch.equal(items, rows + 1)
    assert_near(best.nan_to_num(neginf=-99), expected.nan_to_num(neginf=-99), 1e-12)
    counts, popular = torch.ones(30, dtype=torch.float64), torch.arange(30)
    ranker = NetworkRanker(network, counts, popular)
    own, excluded = clicks.items - 1 if exclude_clicked else None, torch.tensor([2, -1])
    found = ranker.best_rows(ranker.encode(*clicks), *clicks, 30, candidates, own, excluded)
    scores[:, 2] = -torch.inf
    expected, rows = scores.sort(dim=1, descending=True, stable=True)
    if candidates is None:
        assert torch.equal(found.rows, torch.where(expected == -torch.inf, -1, rows))


def test_some_scores() -> None:
    """Of chosen items, in any order, twice or not at all; without a known click, and without any item."""
    network, sessions = make(), [*CLICKS, [0], []]
    ranker = NetworkRanker(network, torch.ones(30, dtype=torch.float64), torch.arange(30))
    clicks = batch(sessions)
    encoded = ranker.encode(*clicks)
    whole = ranker.scores(encoded, *clicks, None)
    assert_near(whole[:-2].detach(), plain_scores(network, CLICKS).detach(), 1e-12)
    for rows in ([6, 4, 6, 2, 8, 29], [], list(range(30))):
        chosen = ranker.scores(encoded, *clicks, torch.tensor(rows, dtype=torch.int64))
        assert_near(chosen, whole[:, rows], 1e-12)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_certain_sessions(precision: str) -> None:
    """Whose clicked items have nearly all of the softmax, and lose it by their logits."""
    network = make(spread=30.0, cosine_scale=200.0).float()
    clicks, targets = SessionBatch.from_lists(CLICKS), torch.tensor([session[0] for session in CLICKS])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        losses = network.losses(*clicks, targets)
        losses.sum().backward()
    finally:
        torch.set_float32_matmul_precision(before)
    assert bool(losses.isfinite().all())
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters() if value.grad is not None)
    if precision == "highest":
        scores = plain_scores(network.double(), CLICKS)
        expected = torch.nn.functional.cross_entropy(scores, targets - 1, reduction="none")
        assert_near(losses.double().detach(), expected.detach(), 1e-3)


@pytest.mark.parametrize("share", [1.0, 1 - 3.6e-6, 0.7])
def test_low_logits_of_certain_items(share: float) -> None:
    """In float32, beside the definition in float64: finite, and off by a rounding error of the shares at most."""
    session = torch.tensor([[1.0, 0.0]])
    apart = 40.0 if share == 1 else math.log(share / (1 - share))
    table = torch.tensor([[apart, 0.0], [0.0, 0.0]])
    encoded = encoded_without_nodes(session)
    for logit in (-20.0, -18.0, -15.0, -3.0, 4.0):
        logits = torch.tensor([[logit]], requires_grad=True)
        repeats = Repeats(torch.tensor([[0]]), logits)
        targets = torch.tensor([1])
        losses = torch.tensor([math.log1p(math.exp(-apart)) + apart], dtype=torch.float32)
        found = losses_with_repeats(losses, encoded, table, targets, repeats).sum()
        found.backward()
        exact = math.log(math.exp(apart + logit) + 1)
        # What a rounding error of a score is of all that is left.
        assert abs(found.item() - exact) < 2.4e-7 * apart * math.exp(apart - exact) + 1e-4
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())


def test_begins_with_zeros() -> None:
    network, plain = TAGNNPP(CONFIG).eval(), TAGNNPP(replace(CONFIG, repeats=False)).eval()
    assert float(network.repeats.logits.detach().abs().max()) == 0  # type: ignore[union-attr]
    network.load_state_dict(plain.state_dict(), strict=False)
    clicks = SessionBatch.from_lists(CLICKS)
    assert torch.equal(network(*clicks), plain(*clicks))
    assert torch.equal(network.topk(*clicks, 7)[1], plain.topk(*clicks, 7)[1])
