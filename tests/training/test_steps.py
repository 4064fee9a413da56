"""Steps on a data set that stays on the device give what steps on batches from the host give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from tagnn_fast.data import Dataset, PrefixExamples, synthetic_dataset
from tagnn_fast.data.examples import shuffled
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training import steps
from tagnn_fast.training.loop import train
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.steps import ResidentSteps, Steps, make_optimizer, matrix_precision, set_learning_rate
from tagnn_fast.training.stopping import Interrupted
from tests.support import DEVICES

DATASET = synthetic_dataset(clicks=700, items=50)
SMALL = {"hidden_size": 8, "epochs": 2, "batch_size": 64, "protocol": "held-out"}


def new_run(folder: Path, preset: str, device: str, dataset: Dataset = DATASET, **overrides: Any) -> Run:
    longest = PrefixExamples(dataset.train).longest_prefix()
    overrides = {**SMALL, "accelerator": device, **overrides}
    return create_run(folder, *resolve(preset, overrides, len(dataset.vocabulary), longest), dataset, folder / "data")


def losses_and_weights(run: Run) -> tuple[list[float], dict[str, torch.Tensor]]:
    history = json.loads((run.folder / "history.json").read_text())
    return [record["training_loss"] for record in history], load_file(run.weights)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that data sets stay on; on the CPU, steps run as they do on a GPU, but are not recorded."""
    resident = lambda device: True  # noqa: E731
    monkeypatch.setattr(steps, "can_be_resident", resident)
    return request.param


def stay_on_host(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(steps, "can_be_resident", lambda device: False)


@pytest.mark.parametrize("architecture", ["tagnn_pp", "sr_gnn"])
@pytest.mark.parametrize("preset", ["clean", "published-diginetica"])
def test_same_losses_and_weights(
    preset: str, architecture: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"architecture": architecture, "precision": "64-true"}
    resident, host = (new_run(tmp_path / name, preset, device, **options) for name in ("resident", "host"))
    train(resident, DATASET)
    with monkeypatch.context() as patch:
        stay_on_host(patch)
        train(host, DATASET)
    (losses, weights), (expected_losses, expected_weights) = losses_and_weights(resident), losses_and_weights(host)
    # The learning rate is a float32 tensor here.
    assert losses == pytest.approx(expected_losses, rel=1e-7)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-6, atol=1e-8)


def test_stops_and_goes_on_to_the_bit(device: str, tmp_path: Path) -> None:
    whole, parts = new_run(tmp_path / "whole", "clean", device), new_run(tmp_path / "parts", "clean", device)
    train(whole, DATASET)
    answers = iter([False, True] * 100)
    for _ in range(100):
        try:
            train(open_run(parts.folder), DATASET, stop=lambda: next(answers))
        except Interrupted:
            continue
        break
    losses, weights = losses_and_weights(parts)
    assert losses == losses_and_weights(whole)[0]
    assert all(torch.equal(value, weights[name]) for name, value in losses_and_weights(whole)[1].items())


def make_steps(
    kind: type[Steps],
    device: str,
    precision: str = "32-true",
    dropout: float = 0.0,
    most_clicks: int | None = None,
) -> Steps:
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    overrides = {**SMALL, "attention_dropout": dropout}
    config, training = resolve("clean", overrides, len(DATASET.vocabulary), 0)
    model = make_model(config, training)
    optimizer = make_optimizer(model, 1e-5, fabric.device)
    fabric_model, fabric_optimizer = fabric.setup(model, optimizer)
    examples = PrefixExamples(DATASET.train)
    return kind(fabric, fabric_model, fabric_optimizer, examples, training.batch_size, most_clicks)


def test_each_step(device: str) -> None:
    """Batches of one size but for the last, on the device."""
    resident, host = (make_steps(kind, device) for kind in (ResidentSteps, Steps))
    order = shuffled(len(resident.examples), 0, 0)
    count = -(-len(order) // resident.batch_size)
    assert len(order) % resident.batch_size
    for epoch in range(2):
        for kind in (resident, host):
            kind.begin_epoch(order)
        assert isinstance(resident, ResidentSteps)
        assert resident.clicks % steps.CLICKS_UNIT == 0
        for number in range(count):
            set_learning_rate(resident.optimizer, 1e-2 / (1 + epoch))
            set_learning_rate(host.optimizer, 1e-2 / (1 + epoch))
            loss = float(resident.take(number))
            assert loss == pytest.approx(float(host.take(number)), rel=2e-5)


@pytest.mark.parametrize("kind", [Steps, ResidentSteps])
@pytest.mark.parametrize("most_clicks", [1, 40, 260])
def test_steps_in_parts(kind: type[Steps], most_clicks: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses and parameters but for rounding, and never more clicks at once than allowed."""
    apart, whole = (make_steps(kind, device, "64-true", most_clicks=most) for most in (most_clicks, None))
    order = shuffled(len(whole.examples), 0, 0)
    clicks = []
    losses = SessionModel.losses
    longest = int(whole.lengths.max())
    for group in (apart, whole):
        group.begin_epoch(order)
    for number in range(-(-len(order) // whole.batch_size)):
        with monkeypatch.context() as patch:
            patch.setattr(
                SessionModel,
                "losses",
                lambda model, items, offsets, *more: (
                    clicks.append((int(offsets[-1]), len(offsets) - 1)) or losses(model, items, offsets, *more)
                ),
            )
            loss = float(apart.take(number))
        assert loss == pytest.approx(float(whole.take(number)), rel=1e-9)
    for value, expected in zip(apart.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)
    if device == "cpu":  # recorded steps count nothing
        assert sum(examples for _, examples in clicks) == len(order)
        assert max(number for number, _ in clicks) <= max(most_clicks, longest)
        assert all(examples == 1 for number, examples in clicks if number > most_clicks)
        assert most_clicks > 200 or len(clicks) > len(order) / whole.batch_size


def test_other_sizes(device: str) -> None:
    """An epoch whose largest batch is larger is cut to another size."""
    resident = make_steps(ResidentSteps, device)
    assert isinstance(resident, ResidentSteps)
    order = shuffled(len(resident.examples), 0, 0)
    resident.begin_epoch(order)
    clicks = resident.clicks
    longest_first = resident.lengths.argsort(descending=True)
    resident.begin_epoch(longest_first)
    assert resident.clicks > clicks
    assert bool(resident.take(0).isfinite())
    assert resident.examples.cut(resident.order[: resident.batch_size], resident.clicks).items[-1] == 0


def test_dropout_goes_on(device: str) -> None:
    """Each step draws its own mask."""
    resident = make_steps(ResidentSteps, device, dropout=0.5)
    resident.begin_epoch(shuffled(len(resident.examples), 0, 0))
    set_learning_rate(resident.optimizer, 0.0)
    assert len({float(resident.take(0)) for _ in range(8)}) == 8


def test_mixed_precision_reaches_the_model(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = SessionModel.losses
    for kind in (ResidentSteps, Steps):
        batches = make_steps(kind, device, "bf16-mixed")
        monkeypatch.setattr(
            SessionModel,
            "losses",
            lambda *arguments: seen.append(torch.is_autocast_enabled(device)) or encode(*arguments),
        )
        batches.begin_epoch(shuffled(len(batches.examples), 0, 0))
        assert bool(batches.take(0).isfinite())
    assert seen == [True, True]


def test_matrix_precision() -> None:
    before = torch.get_float32_matmul_precision()
    for precision, device, expected in (
        ("bf16-mixed", "cuda", "medium"),
        ("bf16-mixed", "cpu", before),
        ("32-true", "cuda", before),
        ("32-true", "cpu", before),
        ("high", "cpu", "high"),
        ("medium", "cpu", "medium"),
        ("medium", "cuda", "medium"),
    ):
        with matrix_precision(precision, torch.device(device)):
            assert torch.get_float32_matmul_precision() == expected
        assert torch.get_float32_matmul_precision() == before
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with matrix_precision("32-true", torch.device("cpu")):
            pass
        with (
            pytest.raises(ValueError, match="expected high to be all .*, got an fp32_precision of torch.backends, too"),
            matrix_precision("high", torch.device("cpu")),
        ):
            pass
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
    assert torch.get_float32_matmul_precision() == before


def test_stays_on_the_host_by_default() -> None:
    assert not steps.can_be_resident(torch.device("cpu"))
    model = make_model(*resolve("clean", SMALL, 10, 0))
    optimizer = make_optimizer(model, TrainingConfig().weight_decay, torch.device("cpu"))
    assert isinstance(optimizer.param_groups[0]["lr"], float)
    assert not optimizer.param_groups[0]["capturable"]
