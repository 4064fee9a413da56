"""The models as users meet them: semantics, top-k, loss, checks, scripting and export."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.nn import AttentionEnhancedGNN
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops import library
from tests.support import DEVICES, random_sessions

PUBLISHED_MODELS = [TAGNNPP, TAGNN, SRGNN]
MODELS = [*PUBLISHED_MODELS, AttentionEnhancedGNN]
CLEAN = ModelConfig(num_items=60, hidden_size=12, hybrid=True)
PUBLISHED = replace(CLEAN, semantics="published", padded_length=9)
RECIPE = replace(
    CLEAN,
    readout_softmax=False,
    cosine_scale=12.0,
    learned_scale=True,
    recency="nodes",
    highway=True,
    neighbour_weight=0.5,
    neighbour_attention=True,
    repeats=True,
    star=True,
    click_counts=True,
    edge_counts=True,
    second_readout=True,
)
CONFIGS = {"clean": CLEAN, "published": PUBLISHED, "recipe": RECIPE}
CASES = pytest.mark.parametrize(
    ("model", "config"),
    [
        *(
            pytest.param(model, config, id=f"{model.__name__}-{name}")
            for model in PUBLISHED_MODELS
            for name, config in CONFIGS.items()
        ),
        pytest.param(AttentionEnhancedGNN, replace(CLEAN, hybrid=False), id="AttentionEnhancedGNN-clean"),
        pytest.param(
            AttentionEnhancedGNN,
            replace(RECIPE, readout_softmax=None, hybrid=False, second_readout=False),
            id="AttentionEnhancedGNN-recipe",
        ),
    ],
)
SESSIONS = [[3, 9, 3], [5], *random_sessions((7, 1, 12, 2, 30), items=60)]


def make(model: type[SessionModel], config: ModelConfig, dtype: torch.dtype = torch.float64) -> SessionModel:
    torch.manual_seed(0)
    network = model(config)
    network.learn_neighbours(*SessionBatch.from_lists(SESSIONS))
    if network.repeats is not None:
        torch.nn.init.normal_(network.repeats.logits)
    return network.to(dtype).eval()


@CASES
def test_sessions_are_independent(model: type[SessionModel], config: ModelConfig) -> None:
    """A session's scores are the same alone, in any batch and in any place of it."""
    network = make(model, config)
    together = network(*SessionBatch.from_lists(SESSIONS))
    backwards = network(*SessionBatch.from_lists(SESSIONS[::-1])).flip(0)
    torch.testing.assert_close(backwards, together, rtol=1e-12, atol=1e-15)
    for session, expected in zip(SESSIONS, together, strict=True):
        alone = network(*SessionBatch.from_lists([session]))[0]
        torch.testing.assert_close(alone, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("device", DEVICES)
@CASES
def test_clicks_of_no_session(model: type[SessionModel], config: ModelConfig, device: str) -> None:
    """A batch padded with zeros after its last click has the losses and gradients of the exact one."""
    network = make(model, config).train().to(device)
    if network.neighbour_attention is not None:
        network.neighbour_attention.dropout = 0.0  # what is drawn depends on the number of clicks
    items, offsets = SessionBatch.from_lists(SESSIONS).to(device)
    targets = torch.arange(len(SESSIONS), device=device) + 1
    results = []
    for padding in (0, 1, 200):
        torch.manual_seed(1)  # of the dropout
        network.zero_grad()
        losses = network.losses(torch.cat([items, items.new_zeros(padding)]), offsets, targets)
        losses.mean().backward()
        results.append([losses.detach(), *(parameter.grad for parameter in network.parameters())])
    for padded in results[1:]:
        torch.testing.assert_close(padded, results[0], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("model", PUBLISHED_MODELS)
def test_padded_length(model: type[SessionModel]) -> None:
    """Padding changes "published" scores of TAGNN and TAGNN-PP, and never "clean" ones."""
    batch = SessionBatch.from_lists(SESSIONS)
    clean, published = make(model, CLEAN), make(model, PUBLISHED)
    for padded_length in (0, 1, 9, 69):
        expected = make(model, replace(CLEAN, padded_length=padded_length))(*batch)
        torch.testing.assert_close(clean(*batch, padded_length), clean(*batch), rtol=1e-12, atol=0)
        torch.testing.assert_close(expected, clean(*batch), rtol=1e-12, atol=0)
        by_call = published(*batch, padded_length)
        by_configuration = make(model, replace(PUBLISHED, padded_length=padded_length))(*batch)
        assert torch.equal(by_call, by_configuration)
    changes = not torch.allclose(published(*batch, 69), published(*batch))
    assert changes == (model is not SRGNN)


def test_clean_order_is_the_order_of_clicks() -> None:
    """Renaming items consistently changes nothing in "clean"; "published" sorts by id."""
    batch = SessionBatch.from_lists(SESSIONS)
    names = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(60) + 1])
    for config, same in ((CLEAN, True), (PUBLISHED, False)):
        network, renamed = make(TAGNNPP, config), make(TAGNNPP, config)
        with torch.no_grad():
            renamed.item_embedding.weight[names] = network.item_embedding.weight.clone()
        scores = renamed(names[batch.items], batch.offsets)[:, names[1:] - 1]
        assert torch.allclose(scores, network(*batch), rtol=1e-9) == same


@CASES
def test_topk_and_loss_agree_with_scores(model: type[SessionModel], config: ModelConfig) -> None:
    network, batch = make(model, config), SessionBatch.from_lists(SESSIONS)
    scores = network(*batch)
    assert scores.shape == (len(SESSIONS), 60)
    for k in (1, 20, 60):
        best, items = network.topk(*batch, k=k)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        assert torch.equal(items, order + 1)
        torch.testing.assert_close(best, scores.gather(1, order))
    targets = torch.randint(1, 61, (len(SESSIONS),))
    expected = torch.nn.functional.cross_entropy(scores, targets - 1)
    torch.testing.assert_close(network.loss(*batch, targets), expected)


def test_initial_parameters() -> None:
    """All uniform in ±1/√hidden, as published."""
    network = TAGNNPP(ModelConfig(num_items=500, hidden_size=64))
    for name, parameter in network.named_parameters():
        assert parameter.abs().max().item() <= 0.125, name
        if parameter.numel() >= 64:
            assert abs(parameter.std().item() - 0.125 / 3**0.5) < 0.02, name


@pytest.mark.parametrize("model", MODELS)
def test_learns(model: type[SessionModel]) -> None:
    """A few steps of Adam drive the loss of a small batch far below chance."""
    torch.manual_seed(0)
    network, batch = model(replace(CLEAN, hybrid=False)).train(), SessionBatch.from_lists(SESSIONS)
    targets = torch.arange(1, len(SESSIONS) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        loss = network.loss(*batch, targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


def test_dropout_follows_the_seed() -> None:
    network, batch = TAGNNPP(replace(CLEAN, attention_dropout=0.5)).train(), SessionBatch.from_lists(SESSIONS)

    def scores(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return network(*batch)

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))
    network.eval()
    assert torch.equal(scores(1), scores(2))


@CASES
def test_script(model: type[SessionModel], config: ModelConfig) -> None:
    network, batch = make(model, config), SessionBatch.from_lists(SESSIONS)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    assert torch.equal(loaded(*batch), network(*batch))
    for actual, expected in zip(loaded.topk(*batch, 5), network.topk(*batch, 5), strict=True):
        assert torch.equal(actual, expected)


@CASES
def test_export(model: type[SessionModel], config: ModelConfig) -> None:
    network = make(model, config)
    clicks, sessions = torch.export.Dim("clicks", min=2), torch.export.Dim("sessions", min=3)
    program = torch.export.export(
        network,
        tuple(SessionBatch.from_lists(SESSIONS)),
        dynamic_shapes={"items": {0: clicks}, "offsets": {0: sessions}},
    )
    other = SessionBatch.from_lists([[1, 2], [60, 60, 3], [5]])
    torch.testing.assert_close(program.module()(*other), network(*other))


def test_autocast() -> None:
    network, batch = make(TAGNNPP, CLEAN, torch.float32), SessionBatch.from_lists(SESSIONS)
    expected = network(*batch)
    targets = torch.ones(len(SESSIONS), dtype=torch.int64)
    expected_loss = network.loss(*batch, targets)
    with torch.autocast("cpu", torch.bfloat16):
        actual, loss = network(*batch), network.loss(*batch, targets)
        loss.backward()
    assert actual.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.02 * expected.abs().max().item())
    torch.testing.assert_close(loss, expected_loss, rtol=2e-3, atol=0)


@CASES
def test_devices_without_kernels(
    model: type[SessionModel], config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain PyTorch definitions stand in for the native ops, gradients included."""
    network, batch = make(model, config), SessionBatch.from_lists(SESSIONS)
    targets = torch.ones(len(SESSIONS), dtype=torch.int64)

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(network.loss(*batch, targets), list(network.parameters())))

    expected = gradients()
    monkeypatch.setattr(library, "has_kernel", lambda tensor: False)
    monkeypatch.setattr(torch.ops.tagnn_fast, "session_graph", None)
    for actual, value in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(actual, value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("autocast", [False, True])
def test_second_derivatives_are_refused(autocast: bool) -> None:
    network, batch = make(TAGNNPP, CLEAN, torch.float32), SessionBatch.from_lists(SESSIONS)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        encoded = network.encode(*batch).session.sum()
    with pytest.raises(RuntimeError, match="expected create_graph=False, got True"):
        torch.autograd.grad(encoded, network.readout.logit_weight, create_graph=True)


def test_topk_keeps_no_gradient() -> None:
    network, batch = make(TAGNNPP, CLEAN), SessionBatch.from_lists(SESSIONS)
    assert not network.topk(*batch, 5)[0].requires_grad


def test_training_is_repeatable() -> None:
    """To the bit, also where many sessions share a target and the batch is large enough for threads."""
    network = TAGNNPP(ModelConfig(num_items=300, hidden_size=100)).train()
    batch = SessionBatch.from_lists(random_sessions([1 + length % 6 for length in range(400)], items=300))
    targets = torch.arange(400) % 5 + 1

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        return list(torch.autograd.grad(network.loss(*batch, targets), list(network.parameters())))

    first = gradients()
    for _ in range(8):
        assert all(torch.equal(value, again) for value, again in zip(first, gradients(), strict=True))


def test_trace() -> None:
    network, batch = make(TAGNNPP, CLEAN), SessionBatch.from_lists(SESSIONS)
    with torch.no_grad():
        traced = torch.jit.trace(network, tuple(batch), check_trace=False)
    torch.jit.save(traced, io.BytesIO())
    torch.testing.assert_close(traced(*batch), network(*batch))


def test_compile() -> None:
    """torch.compile traces a training step whole: one graph, the same gradients."""
    network, batch = make(TAGNNPP, CLEAN), SessionBatch.from_lists(SESSIONS)
    targets = torch.arange(len(SESSIONS)) + 1
    parameters = list(network.parameters())
    loss = torch.compile(network.loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(network.loss(*batch, targets), parameters)
    for actual, value in zip(torch.autograd.grad(loss(*batch, targets), parameters), expected, strict=True):
        torch.testing.assert_close(actual, value)


@pytest.mark.parametrize("model", MODELS)
def test_topk_of_candidates_without_clicked_items(model: type[SessionModel]) -> None:
    network, batch = make(model, replace(CLEAN, hybrid=False)), SessionBatch.from_lists(SESSIONS)
    scores = network(*batch)
    candidates = torch.tensor([60, 7, 3, 9, 12, 7])
    lists = network.topk(*batch, 5, candidates=candidates, exclude_clicked=True)
    loaded = torch.jit.script(network).topk(*batch, 5, candidates=candidates, exclude_clicked=True)
    for session, best, items, scripted in zip(SESSIONS, *lists, loaded[1], strict=True):
        left = sorted({3, 7, 9, 12, 60} - set(session), key=lambda item: -scores[SESSIONS.index(session), item - 1])
        assert items.tolist() == scripted.tolist() == left + [0] * (5 - len(left))
        assert best.isfinite().sum() == len(left)


@pytest.mark.parametrize(
    ("candidates", "kind", "message"),
    [
        (torch.tensor([1.0]), TypeError, "candidates: expected int64, got float32"),
        (torch.tensor([1, 61]), ValueError, "candidates: expected ids in 1..60, got 61"),
    ],
)
def test_candidate_errors(candidates: torch.Tensor, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        make(TAGNNPP, CLEAN).topk(*SessionBatch.from_lists(SESSIONS), 3, candidates=candidates)
    assert str(error.value) == message


def test_no_sessions() -> None:
    network = make(TAGNNPP, CLEAN)
    batch = SessionBatch.from_lists([])
    assert network(*batch).shape == (0, 60)
    assert network.topk(*batch, k=3)[1].shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(
    sessions=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=6),
    config=st.sampled_from([CLEAN, PUBLISHED, RECIPE]),
)
def test_any_sessions(sessions: list[list[int]], config: ModelConfig) -> None:
    """Whatever the batch, a session's scores are its own."""
    network = make(TAGNNPP, config)
    together = network(*SessionBatch.from_lists(sessions))
    alone = torch.cat([network(*SessionBatch.from_lists([session])) for session in sessions])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-15)


ITEMS, OFFSETS = SessionBatch.from_lists([[3, 9], [5]])


@pytest.mark.parametrize(
    ("items", "offsets", "kind", "message"),
    [
        ([3, 9, 5], OFFSETS, TypeError, "items: expected an int64 tensor, got list"),
        (ITEMS.int(), OFFSETS, TypeError, "items: expected int64, got int32"),
        (ITEMS[None], OFFSETS, ValueError, "items: expected one dimension, got shape (1, 3)"),
        (ITEMS * 0, OFFSETS, ValueError, "items: expected ids in 1..60, got 0"),
        (ITEMS * 7, OFFSETS, ValueError, "items: expected ids in 1..60, got 63"),
        (ITEMS, OFFSETS + 1, ValueError, "offsets: expected to start at 0, got 1"),
        (ITEMS, OFFSETS[:-1], ValueError, "offsets: expected to end at the number of clicks 3, got 2"),
        (ITEMS, OFFSETS[:0], ValueError, "offsets: expected one more than there are sessions, got none"),
        (
            ITEMS,
            torch.tensor([0, 2, 2, 3]),
            ValueError,
            "offsets: expected at least one click in each session, got an empty session at session 1",
        ),
        (
            ITEMS,
            torch.tensor([0, 3, 2, 3]),
            ValueError,
            "offsets: expected at least one click in each session, got -1 clicks at session 1",
        ),
        (ITEMS.to("meta"), OFFSETS, ValueError, "items: expected on the model's device cpu, got on meta"),
    ],
)
def test_batch_errors(items: torch.Tensor, offsets: torch.Tensor, kind: type[Exception], message: str) -> None:
    network = make(TAGNNPP, CLEAN)
    calls = (
        lambda: network(items, offsets),
        lambda: network.topk(items, offsets, 3),
        lambda: network.loss(items, offsets, torch.tensor([1, 2])),
    )
    for call in calls:
        with pytest.raises(kind) as error:
            call()
        assert str(error.value) == message


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([1]), "targets: expected one per session and at least one, got 1 for 2"),
        (torch.tensor([1, 61]), "targets: expected ids in 1..60, got 61"),
    ],
)
def test_target_errors(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make(TAGNNPP, CLEAN).loss(ITEMS, OFFSETS, targets)
    assert str(error.value) == message


@pytest.mark.parametrize(("k", "kind"), [(0, ValueError), (61, ValueError), (2.0, TypeError), (True, TypeError)])
def test_k_errors(k: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="^k: expected "):
        make(TAGNNPP, CLEAN).topk(ITEMS, OFFSETS, k)


@pytest.mark.parametrize(("padded_length", "kind"), [(-1, ValueError), (2.0, TypeError)])
def test_padded_length_errors(padded_length: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="^padded_length: expected "):
        make(TAGNNPP, PUBLISHED)(ITEMS, OFFSETS, padded_length)


def test_heads_must_divide() -> None:
    TAGNN(ModelConfig(num_items=10, hidden_size=7))
    with pytest.raises(ValueError, match="^heads: expected a divisor of hidden_size 7, got 2$"):
        TAGNNPP(ModelConfig(num_items=10, hidden_size=7))
