"""What recipes may do to a training: rates, decay, clipping, weights of examples and averages of weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from tagnn_fast.data import PrefixExamples, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.data.examples import shuffled
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.nn.global_neighbours import most_common_neighbours
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.observer import Observer
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import create_run, open_run
from tagnn_fast.training import steps
from tagnn_fast.training.example_weights import weights_by_age
from tagnn_fast.training.fit import fit, plan
from tagnn_fast.training.loop import train
from tagnn_fast.training.protocols import first_held_out
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.schedule import learning_rate, order_of_epoch, rate_of_step
from tagnn_fast.training.steps import Steps, begin_training, set_learning_rate
from tagnn_fast.training.stopping import Interrupted

DATASET = synthetic_dataset(clicks=700, items=50)
SMALL = {"hidden_size": 8, "epochs": 2, "batch_size": 64, "protocol": "held-out", "accelerator": "cpu"}
MODEL = {
    **{"cosine_scale": 12.0, "learned_scale": True, "recency": "nodes", "highway": True, "neighbour_weight": 0.5},
    **{"neighbour_attention": True, "repeats": True, "star": True, "click_counts": True},
}
TRAINING = {
    "optimizer": "adamw",
    "weight_decay_on": "matrices",
    "schedule": "cosine",
    "warmup_steps": 3,
    "gradient_clipping": 0.5,
    "weight_averaging": 0.75,
    "example_half_life": 0.5,
    "adaptive_clipping": 0.125,
    "label_smoothing": 0.25,
    "chronological_epochs": 1,
}


def test_rates() -> None:
    """Half a cosine wave over all epochs, step by step, after a straight rise."""
    options = TrainingConfig(learning_rate=2.0, schedule="cosine", epochs=4, warmup_steps=3)
    found = [rate_of_step(options, -1, epoch, step, 5) for epoch in range(4) for step in range(5)]
    wave = [1 + math.cos(math.pi * step / 20) for step in range(20)]
    assert found == pytest.approx([wave[0] / 3, wave[1] * 2 / 3, *wave[2:]])
    assert [learning_rate(options, [{}] * epoch) for epoch in range(4)] == pytest.approx(wave[::5])
    plain = TrainingConfig()
    assert rate_of_step(plain, 0.125, 0, 0, 5) == 0.125


def test_example_weights() -> None:
    """Half as much with each half life; 1 on average over the examples, of which sessions have several."""
    sessions = Sessions.from_lists([[1, 2], [1, 2, 3, 4], [5], [1, 2, 3]])
    examples = PrefixExamples(sessions)
    assert examples.session_numbers().tolist() == [0, 1, 1, 1, 3, 3]
    weights = weights_by_age(examples, half_life=0.25)
    expected = torch.tensor([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1, 1])
    torch.testing.assert_close(weights, expected / expected.mean())
    torch.testing.assert_close(
        weights_by_age(PrefixExamples(sessions, torch.tensor([5, 0])), 0.25), torch.tensor([16 / 9, 2 / 9])
    )


def test_order_of_epochs() -> None:
    """The last ones by session, whatever order the examples are in; the others shuffled as without."""
    examples = PrefixExamples(
        Sessions.from_lists([[1, 2], [1, 2, 3, 4], [5], [1, 2, 3]]), torch.tensor([5, 0, 2, 1, 4])
    )
    options = TrainingConfig(epochs=3, chronological_epochs=2, seed=4)
    assert torch.equal(order_of_epoch(options, examples, 0), shuffled(5, 4, 0))
    for epoch in (1, 2):
        assert order_of_epoch(options, examples, epoch).tolist() == [1, 2, 3, 0, 4]
    assert torch.equal(order_of_epoch(TrainingConfig(epochs=3), examples, 2), shuffled(5, 0, 2))


def begun(
    resident: bool, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[SessionModel, Steps, TrainingConfig]:
    monkeypatch.setattr(steps, "can_be_resident", lambda device: resident)
    config, training = resolve("clean", {**SMALL, "precision": "64-true", **options}, len(DATASET.vocabulary), 0)
    model = make_model(config, training)
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    optimizer, taken = begin_training(fabric, model, training, PrefixExamples(DATASET.train))
    set_learning_rate(optimizer, training.learning_rate)
    return model, taken, training


@pytest.mark.parametrize("most_clicks", [100_000, 100])
@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps(resident: bool, kind: str, most_clicks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against plain PyTorch: weighted losses, clipped gradients, decay of matrices alone, an average of weights."""
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.arange(low, high))  # each item once
    given = {**TRAINING, "optimizer": kind, "weight_decay": 0.125, "attention_dropout": 0.0}
    model, taken, options = begun(resident, monkeypatch, **given, max_clicks_per_batch=most_clicks)
    plain, _, _ = begun(resident, monkeypatch, **given)
    examples, rate = PrefixExamples(DATASET.train), options.learning_rate
    order = shuffled(len(examples), 0, 0)
    weights = weights_by_age(examples, 0.5).double()
    taken.begin_epoch(order)
    parameters = dict(plain.named_parameters())
    moments = {name: [torch.zeros_like(value), torch.zeros_like(value)] for name, value in parameters.items()}
    average = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for number in range(3):
        places = order[number * 64 : (number + 1) * 64]
        loss = (plain.losses(*examples.cut(places), label_smoothing=0.25) * weights[places]).mean()
        gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        with torch.no_grad():
            for name, value in parameters.items():  # of each row, or of a vector
                for unit, of_unit in (
                    zip(value, gradients[name], strict=True) if value.dim() > 1 else [(value, gradients[name])]
                ):
                    most = 0.125 * max(float(unit.norm()), 1e-3)
                    of_unit *= min(1.0, most / max(float(of_unit.norm()), 1e-12))
        length = torch.stack([value.square().sum() for value in gradients.values()]).sum().sqrt()
        with torch.no_grad():
            for name, value in parameters.items():
                gradient = gradients[name] * min(1.0, 0.5 / (float(length) + 1e-6))
                decay = 0.125 if value.dim() > 1 else 0.0
                if kind == "adam":
                    gradient = gradient + decay * value
                else:
                    value.mul_(1 - rate * decay)
                first, second = moments[name]
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.001)
                steps_done = number + 1
                value -= rate * (first / (1 - 0.9**steps_done)) / ((second / (1 - 0.999**steps_done)).sqrt() + 1e-8)
                average[name].lerp_(value, 0.25)
        assert float(taken.take(number)) == pytest.approx(float(loss.detach()), rel=1e-7)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), parameters[name].detach(), rtol=1e-6, atol=1e-9)
    assert taken.average is not None
    for name, value in taken.average.averaged(3).named_parameters():
        torch.testing.assert_close(value.detach(), average[name] / (1 - 0.75**3), rtol=1e-6, atol=1e-9)


def test_stops_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    """With all of it, on all sessions too."""
    options = {**SMALL, **MODEL, **TRAINING, "item_dropout": 0.25, "protocol": "held-out-refit"}
    runs = []
    for name in ("whole", "parts"):
        configuration = resolve("clean", options, len(DATASET.vocabulary), 0)
        runs.append(create_run(tmp_path / name, *configuration, DATASET, tmp_path / "data"))
    whole, parts = runs
    train(whole, DATASET)
    answers = iter([False, True] * 100)
    for _ in range(100):
        try:
            train(open_run(parts.folder), DATASET, stop=lambda: next(answers))
        except Interrupted:
            continue
        break
    losses = [[record["training_loss"] for record in run.history] for run in runs]
    assert losses[0] == losses[1]
    assert whole.result is not None
    assert {**whole.result} == {**(parts.result or {})}
    first, second = (load_file(run.weights) for run in runs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_what_is_kept_is_what_was_scored(tmp_path: Path) -> None:
    """The average of the weights, and neighbours from the sessions that were trained on alone."""
    data = write_dataset(DATASET, tmp_path / "data")
    run = fit(data, tmp_path / "run", **{**SMALL, **MODEL, **TRAINING}, observer=Observer())
    assert run.result is not None
    kept = data.train.slice(0, first_held_out(data.train))
    held_out = PrefixExamples(data.train.slice(len(kept), len(data.train)))
    recommender = run.recommender()
    assert score_model(recommender, held_out) == run.result["validation"]
    expected = most_common_neighbours(kept.clicks.long(), kept.offsets, len(data.vocabulary) + 1)
    for table in ("neighbours", "neighbour_attention"):
        assert torch.equal(load_file(run.weights)[f"{table}.items"], expected[0])
    refit = fit(data, tmp_path / "refit", **{**SMALL, **MODEL, "protocol": "held-out-refit"}, observer=Observer())
    expected = most_common_neighbours(data.train.clicks.long(), data.train.offsets, len(data.vocabulary) + 1)
    assert torch.equal(load_file(refit.weights)["neighbours.items"], expected[0])
    vectors = torch.tensor(recommender.item_vectors()["vector"].to_pylist())
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosine", "first_decay": 3}, "first_decay: expected none with a cosine schedule, got 3"),
        ({"preset": "clean", "session_share": 0.25}, "session_share: expected none without a cosine_scale, got 0.25"),
        (
            {"architecture": "sr_gnn", "cosine_scale": 9.0, "session_share": 0.25},
            "session_share: expected none with sr_gnn, which does not use it, got 0.25",
        ),
    ],
)
def test_options_that_would_be_ignored(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        plan(DATASET, options)
    assert str(caught.value) == message
