"""Training options: presets, overrides, checks, and the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tagnn_fast import ModelConfig
from tagnn_fast.nn.architectures import BUILT_IN
from tagnn_fast.runs.configuration import (
    PROTOCOLS,
    TrainingConfig,
    configuration_from_json,
    configuration_json,
    make_model,
)
from tagnn_fast.training.recipes import PRESETS, resolve
from tagnn_fast.training.schedule import learning_rate


def test_published_learning_rates() -> None:
    """The published code steps its schedule before each epoch: the first rate lasts two epochs, later ones three."""
    rates = [learning_rate(TrainingConfig(), [{"epoch": 1 + n} for n in range(epoch)]) for epoch in range(9)]
    assert rates == pytest.approx([1e-3] * 2 + [1e-4] * 3 + [1e-5] * 3 + [1e-6])


def test_presets() -> None:
    model, training = resolve("clean", {}, 50, 9)
    assert (model.semantics, model.padded_length, training.protocol) == ("clean", None, "held-out-refit")
    model, training = resolve("published-diginetica", {}, 43097, 69)
    assert (model.semantics, model.padded_length, model.hidden_size) == ("published", 69, 100)
    assert (training.batch_size, training.protocol, training.weight_decay) == (50, "published", 1e-5)
    model, training = resolve("published-yoochoose", {}, 17376, 145)
    assert (model.semantics, model.padded_length, model.hidden_size) == ("published", 145, 120)
    assert training.batch_size == 75


@pytest.mark.parametrize("preset", PRESETS)
def test_every_field_can_be_overridden(preset: str) -> None:
    overrides: dict[str, Any] = {
        "hidden_size": 24,
        "rounds": 2,
        "heads": 3,
        "attention_dropout": 0.25,
        "hybrid": True,
        "readout_softmax": False,
        "cosine_scale": 12.5,
        "learned_scale": True,
        "session_share": 0.25,
        "learned_share": True,
        "item_dropout": 0.125,
        "recency": "nodes",
        "highway": True,
        "neighbour_weight": 0.5,
        "neighbour_attention": True,
        "repeats": True,
        "star": True,
        "click_counts": True,
        "edge_counts": True,
        "item_readout": False,
        "second_readout": True,
        "semantics": "published",
        "padded_length": 7,
        "options": {"layers": 2},
        "architecture": "tagnn",
        "protocol": "held-out-refit",
        "epochs": 4,
        "batch_size": 13,
        "max_clicks_per_batch": 77,
        "patience": 2,
        "learning_rate": 0.5,
        "weight_decay": 0.25,
        "first_decay": 1,
        "decay_every": 2,
        "decay_factor": 0.5,
        "optimizer": "adamw",
        "weight_decay_on": "matrices",
        "schedule": "cosine",
        "warmup_steps": 3,
        "gradient_clipping": 5.0,
        "adaptive_clipping": 0.25,
        "label_smoothing": 0.125,
        "chronological_epochs": 1,
        "weight_averaging": 0.875,
        "example_half_life": 0.5,
        "seed": 3,
        "precision": "64-true",
        "accelerator": "cpu",
    }
    content = configuration_json(*resolve(preset, overrides, 11, 5))
    assert content["model"].pop("num_items") == 11
    assert {**content["model"], **content["training"]} == overrides


def test_json_round_trip() -> None:
    configurations = resolve("published-yoochoose", {"seed": 7}, 11, 5)
    assert configuration_from_json(configuration_json(*configurations), "here") == configurations


def test_json_of_earlier_versions() -> None:
    """They called rounds steps and published semantics original, and had no `max_clicks_per_batch`."""
    overrides = {"rounds": 2, "semantics": "published", "padded_length": 7}
    configurations = resolve("clean", overrides, 11, 5)
    content = configuration_json(*configurations)
    earlier = {**content["model"], "semantics": "original", "steps": content["model"].pop("rounds")}
    del content["training"]["max_clicks_per_batch"], earlier["rounds"]
    assert configuration_from_json({"model": earlier, "training": content["training"]}, "here") == configurations
    assert resolve("clean", {"semantics": "original"}, 11, 5) == resolve("clean", {"semantics": "published"}, 11, 5)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            {"epochs": 2, "chronological_epochs": 3},
            ValueError,
            "chronological_epochs: expected at most epochs, 2, got 3",
        ),
        (
            {"adaptive_clipping": -1.0},
            ValueError,
            "adaptive_clipping: expected a finite number of 0 and more, got -1.0",
        ),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing: expected less than 1, got 1.0"),
        ({"protocol": "best"}, ValueError, "protocol: expected one of held-out, held-out-refit, all, published, publ"),
        (
            {"architecture": "gru"},
            ValueError,
            "architecture: expected one of tagnn_pp, tagnn, sr_gnn, attention_enhanced, popularity, .*'gru'",
        ),
        ({"precision": "8"}, ValueError, "precision: expected one of"),
        ({"epochs": 0}, ValueError, "epochs: expected 1 or more, got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size: expected an int, got 1.5"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate: expected a finite number of 0 and more, got nan"),
        ({"weight_decay": "x"}, TypeError, "weight_decay: expected a float, got 'x'"),
        ({"seed": 1 << 32}, ValueError, "seed: expected less than"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected 1 or more, got 0"),
        ({"patience": -1}, ValueError, "patience: expected 0 or more, got -1"),
        ({"patience": 2, "protocol": "all"}, ValueError, "patience: expected 0 with protocol all, got 2"),
        ({"optimizer": "sgd"}, ValueError, "optimizer: expected one of adam, adamw, got 'sgd'"),
        ({"schedule": "linear"}, ValueError, "schedule: expected one of step, cosine, got 'linear'"),
        ({"weight_decay_on": "none"}, ValueError, "weight_decay_on: expected one of all, matrices, got 'none'"),
        ({"warmup_steps": -1}, ValueError, "warmup_steps: expected 0 or more, got -1"),
        ({"weight_averaging": 1.0}, ValueError, "weight_averaging: expected less than 1, got 1.0"),
        ({"gradient_clipping": -1}, ValueError, "gradient_clipping: expected a finite number of 0 and more, got -1"),
        ({"hybrid": 1}, TypeError, "hybrid: expected True or False, got 1"),
        ({"attention_dropout": True}, TypeError, "attention_dropout: expected a float, got True"),
    ],
)
def test_errors(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve("clean", overrides, 10, 5)


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="preset: expected one of clean, best, published-diginetica, published"):
        resolve("none", {}, 10, 5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("architecture", BUILT_IN)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_leave_out_what_is_not_used(preset: Any, architecture: str, protocol: str) -> None:
    """Each for every network that has its semantics, and for every protocol."""
    semantics = {} if architecture != "attention_enhanced" else {"semantics": "clean"}
    model, training = resolve(preset, {"architecture": architecture, "protocol": protocol, **semantics}, 10, 5)
    make_model(model, training)
    assert (training.architecture, training.protocol) == (architecture, protocol)
    if preset == "best":
        assert (model.cosine_scale, model.item_dropout, training.schedule) == (12.0, 0.2, "cosine")


@pytest.mark.parametrize(
    "content", [{}, {"model": {}, "training": {}}, {"model": {"num_items": 3, "x": 1}, "training": {}}]
)
def test_configuration_of_something_else(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="here: expected the configuration of a run"):
        configuration_from_json(content, "here")


def test_model_depends_on_the_seed_alone() -> None:
    config = ModelConfig(5, hidden_size=4)
    first, again, other = (make_model(config, TrainingConfig(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(first[name].equal(again[name]) for name in first)
    assert not any(first[name].equal(other[name]) for name in first)


def test_without_validation() -> None:
    """The rates and the end are fixed beforehand."""
    for protocol in ("all", "published", "published-test"):
        _, training = resolve("clean", {"protocol": protocol}, 10, 5)
        found = training.epochs, training.patience, training.first_decay, training.decay_every
        assert found == (6, 0, 2, 3)
        for name in ("first_decay", "decay_every"):
            with pytest.raises(ValueError, match=f"{name}: expected a number of epochs with protocol {protocol}, got "):
                TrainingConfig(protocol=protocol, **{name: None})  # type: ignore[arg-type]


def test_numpy_numbers() -> None:
    """They become Python's own, which JSON can hold."""
    model, training = resolve("clean", {"learning_rate": np.float32(0.5), "hybrid": np.True_}, 10, 5)
    assert (training.learning_rate, model.hybrid) == (0.5, True)
    assert {type(training.learning_rate), type(model.hybrid)} == {float, bool}


def test_numpy_integers() -> None:
    """They are integers, and become Python's own, which JSON can hold."""
    training = TrainingConfig(epochs=np.int64(3), seed=np.uint8(4))  # type: ignore[arg-type]
    assert training == TrainingConfig(epochs=3, seed=4)
    assert {type(training.epochs), type(training.seed)} == {int}
