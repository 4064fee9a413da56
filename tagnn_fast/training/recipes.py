"""Recipes: options of models and training that belong together, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.nn.config import ModelConfig, as_semantics
from tagnn_fast.runs.configuration import VALIDATED, TrainingConfig

# The published code advances its schedule before each epoch, so that the first learning rate lasts two epochs of three.
_PUBLISHED = {
    "architecture": "tagnn_pp",
    "semantics": "published",
    "rounds": 1,
    "heads": 2,
    "attention_dropout": 0.1,
    "hybrid": False,
    "protocol": "published",
    "epochs": 10,
    "learning_rate": 1e-3,
    "weight_decay": 1e-5,
    "first_decay": 2,
    "decay_every": 3,
    "decay_factor": 0.1,
}

# Epochs are a bound that is hardly reached: the validation examples say when to cut the rate, and when to stop.
_CLEAN = {"epochs": 30, "first_decay": None, "decay_every": None, "patience": 3}

# Of the options that were tried on held-out sessions (reports/recipes), with a rate that falls to 0.
_BEST = {
    "cosine_scale": 12.0,
    "item_dropout": 0.2,
    "recency": "nodes",
    "hybrid": True,
    "readout_softmax": False,
    "neighbour_weight": 0.5,
    "repeats": True,
    "schedule": "cosine",
    "epochs": 8,
}
_VALIDATED_TRAINING = ("epochs", "first_decay", "decay_every", "patience")  # of a preset that validation ends

PresetName = Literal["clean", "best", "published-diginetica", "published-yoochoose"]
DEFAULT_PRESET: PresetName = "best"
PRESETS: dict[PresetName, dict[str, Any]] = {
    "clean": _CLEAN,
    "best": _BEST,
    "published-diginetica": {**_PUBLISHED, "hidden_size": 100, "batch_size": 50},
    "published-yoochoose": {**_PUBLISHED, "hidden_size": 120, "batch_size": 75},
}


def resolve(
    preset: PresetName, overrides: Mapping[str, Any], num_items: int, longest_prefix: int
) -> tuple[ModelConfig, TrainingConfig]:
    """The configurations of a preset with some fields replaced, for a data set.

    Options of a preset that the architecture does not use are left out; so is how long to train where no examples are
    held out to end that.

    Args:
        preset: a name in PRESETS.
        overrides: values of fields of ModelConfig and TrainingConfig; None keeps the preset's.
        num_items: items of the data set.
        longest_prefix: of its training examples: the padded length in "published" semantics unless one is given.

    Raises:
        TypeError, ValueError: on an unknown preset or a value that is refused.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    replaced = {name: value for name, value in overrides.items() if value is not None}
    of_preset = dict(PRESETS[preset])
    architecture = replaced.get("architecture", of_preset.get("architecture", TrainingConfig.architecture))
    known = isinstance(architecture, str) and architecture in ARCHITECTURES
    left_out: frozenset[str] = ARCHITECTURES[architecture].unused if known else frozenset()
    if replaced.get("protocol", of_preset.get("protocol", TrainingConfig.protocol)) not in VALIDATED:
        left_out = left_out.union(_VALIDATED_TRAINING if "patience" in of_preset else ())
    given = {**{name: value for name, value in of_preset.items() if name not in left_out}, **replaced}
    if as_semantics(given.get("semantics", "clean")) == "published":
        given.setdefault("padded_length", longest_prefix)
    model_fields = {field.name for field in fields(ModelConfig)}
    model = ModelConfig(num_items, **{name: value for name, value in given.items() if name in model_fields})
    training = TrainingConfig(**{name: value for name, value in given.items() if name not in model_fields})
    return model, training
