"""How a model is trained: the options, and what a run's configuration file holds of them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

from tagnn_fast.baselines import BASELINES
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.checks import check_count, check_real
from tagnn_fast.nn.architectures import BLEND_NAMES, find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.runs.methods import check_options, find_method, method_names

ProtocolName = Literal["held-out", "held-out-refit", "all", "published", "published-test"]
Precision = Literal["32-true", "64-true", "bf16-mixed", "high", "medium"]
Optimizer = Literal["adam", "adamw"]
Decayed = Literal["all", "matrices"]
Schedule = Literal["step", "cosine"]
PROTOCOLS, PRECISIONS = get_args(ProtocolName), get_args(Precision)
_CHOICES = {
    "protocol": PROTOCOLS,
    "precision": PRECISIONS,
    "optimizer": get_args(Optimizer),
    "weight_decay_on": get_args(Decayed),
    "schedule": get_args(Schedule),
}
VALIDATED = ("held-out", "held-out-refit")  # whose validation examples may say how long to train, and at which rate
# All that the configuration of a baseline has, which is not trained by gradients; its own options are in `options`. A
# blend's has the same.
BASELINE_FIELDS = {"num_items", "options", "architecture", "protocol"}
MAX_CLICKS_PER_BATCH = 100_000  # a batch of 512 sessions of 195 clicks; the models take about 10 KB each to train


@dataclass(frozen=True)
class TrainingConfig:
    """Options of a training run, checked when made.

    Attributes:
        architecture: "tagnn_pp", "tagnn", "sr_gnn", "attention_enhanced", or a registered one (see
            :func:`tagnn_fast.register_architecture`); or a baseline (see :mod:`tagnn_fast.baselines`), for which only
            the protocol below counts. "ensemble" and "hybrid" are what :func:`tagnn_fast.blend` makes of other runs.
        protocol: which examples are trained on and which choose the epoch; see :mod:`tagnn_fast.training.protocols`.
        epochs: passes over the training examples; at most, with `patience`.
        patience: epochs without a better validation MRR@20 after which training stops; 0: it never does. For protocols
            that hold sessions out, as is None below.
        batch_size: examples per step.
        max_clicks_per_batch: clicks of their prefixes that are computed at once. A step with more is computed in parts,
            whose gradients are added up: it takes longer, and not more memory. A longer prefix is a part of its own.
        learning_rate: Adam's, in the first epochs.
        weight_decay: of the optimiser.
        first_decay: epochs at the first learning rate; None: until one without a better validation MRR@20.
        decay_every: epochs at each later one; None: likewise.
        decay_factor: what each is of the one before.
        optimizer: "adam", whose weight decay is a coupled L2 penalty, or "adamw" (Loshchilov & Hutter, ICLR 2019).
        weight_decay_on: "all" parameters, or "matrices" alone: not biases, norms, scales and other vectors.
        schedule: "step", the rates above; or "cosine", in which those three have no part: after a share t of `epochs`
            the rate is learning_rate · (1 + cos πt) / 2 (SGDR without restarts), set at each step.
        warmup_steps: steps at the beginning, during which the rate rises in equal parts to what it is otherwise.
        gradient_clipping: length that the gradient of all parameters together is brought down to where it is longer; 0
            leaves it as it is.
        adaptive_clipping: λ of gradients of rows, which are brought down to λ times the row's own length where they are
            longer, before `gradient_clipping`, see :func:`~tagnn_fast.training.clipping.clip_units`; 0 leaves them.
        weight_averaging: β of an exponential moving average of the parameters, W ← β W + (1 - β) parameters after each
            step, corrected for its beginning by 1 / (1 - βⁿ) after n steps: it is what is scored and kept. 0: none.
        example_half_life: h of losses weighted by 2^(-a / h), where a is the share of the sessions that are newer than
            the example's; the weights are 1 on average. 0: all weigh the same.
        label_smoothing: ε of the targets that belongs to all items alike, see
            :func:`~tagnn_fast.nn.label_smoothing.smoothed_losses`; it is in the training loss that is reported. 0: the
            next item is all of the target.
        chronological_epochs: so many last ones of `epochs` take their examples in the order of the sessions, not
            shuffled; training that ends early does not come to them.
        seed: of the parameters, the order of the examples, the dropout, the items that label smoothing draws.
        precision: of the training's steps. "32-true", "64-true" and "bf16-mixed" are Lightning's; "high" and "medium"
            are float32 with the matrix products that ``torch.set_float32_matmul_precision`` has under these names.
            "32-true" leaves that setting as it is: "highest", unless the process has set another.
        accelerator: where to train, as Lightning Fabric names it: "auto", "cpu", "cuda", ...
    """

    architecture: str = "tagnn_pp"
    protocol: ProtocolName = "held-out-refit"
    epochs: int = 6
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    first_decay: int | None = 2
    decay_every: int | None = 3
    decay_factor: float = 0.1
    seed: int = 0
    precision: Precision = "32-true"
    accelerator: str = "auto"
    max_clicks_per_batch: int = MAX_CLICKS_PER_BATCH
    patience: int = 0
    optimizer: Optimizer = "adam"
    weight_decay_on: Decayed = "all"
    schedule: Schedule = "step"
    warmup_steps: int = 0
    gradient_clipping: float = 0.0
    weight_averaging: float = 0.0
    example_half_life: float = 0.0
    adaptive_clipping: float = 0.0
    label_smoothing: float = 0.0
    chronological_epochs: int = 0

    def __post_init__(self) -> None:
        if not self.is_blend:
            find_method(self.architecture)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, lowest in (
            ("epochs", 1),
            ("patience", 0),
            ("batch_size", 1),
            ("first_decay", 0),
            ("decay_every", 1),
            ("seed", 0),
            ("max_clicks_per_batch", 1),
            ("warmup_steps", 0),
            ("chronological_epochs", 0),
        ):
            value = getattr(self, name)
            if value is not None or name not in ("first_decay", "decay_every"):
                object.__setattr__(self, name, check_count(value, name, lowest))
            elif self.protocol not in VALIDATED:
                raise ValueError(f"{name}: expected a number of epochs with protocol {self.protocol}, got None")
        if self.patience and self.protocol not in VALIDATED:
            raise ValueError(f"patience: expected 0 with protocol {self.protocol}, got {self.patience}")
        if self.seed >= 1 << 32:
            raise ValueError(f"seed: expected less than 2^32, got {self.seed}")
        for name in (
            *("learning_rate", "weight_decay", "decay_factor"),
            *("gradient_clipping", "weight_averaging", "example_half_life", "adaptive_clipping", "label_smoothing"),
        ):
            number = check_real(getattr(self, name), name)
            if not 0 <= number < float("inf"):
                raise ValueError(f"{name}: expected a finite number of 0 and more, got {number}")
            object.__setattr__(self, name, number)
        for name in ("weight_averaging", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}: expected less than 1, got {getattr(self, name)}")
        if self.chronological_epochs > self.epochs:
            raise ValueError(
                f"chronological_epochs: expected at most epochs, {self.epochs}, got {self.chronological_epochs}"
            )

    @property
    def is_baseline(self) -> bool:
        """Whether the architecture is a baseline, which counts instead of being trained."""
        return self.architecture in BASELINES

    @property
    def is_blend(self) -> bool:
        """Whether it is an ensemble or a hybrid of other runs."""
        return self.architecture in BLEND_NAMES


def configuration_json(model: ModelConfig, training: TrainingConfig) -> dict[str, dict[str, Any]]:
    """Both configurations as JSON objects; those of a baseline or a blend without what means nothing for it."""
    content = {"model": asdict(model), "training": asdict(training)}
    if not (training.is_baseline or training.is_blend):
        return content
    return {
        part: {name: value for name, value in values.items() if name in BASELINE_FIELDS}
        for part, values in content.items()
    }


def configuration_from_json(value: object, where: object) -> tuple[ModelConfig, TrainingConfig]:
    """The configurations that :func:`configuration_json` wrote, in this version or an earlier one.

    Fields that an earlier one had not are the default; it called `rounds` steps.

    Raises:
        ValueError: on fields that are missing, unknown or refused, or an architecture that is not registered.
    """
    if not isinstance(value, Mapping) or not all(isinstance(value.get(part), dict) for part in ("model", "training")):
        raise ValueError(f"{where}: expected the configuration of a run, got {reprlib.repr(value)}")
    architecture = value["training"].get("architecture")
    if isinstance(architecture, str) and architecture not in (*method_names(), *BLEND_NAMES):
        raise ValueError(
            f"{where}: expected one of the architectures {', '.join(method_names())}, got {architecture!r}; "
            f"tagnn_fast.register_architecture({architecture!r}, its class) makes it known"
        )
    model = {"rounds" if name == "steps" else name: content for name, content in value["model"].items()}
    try:
        return ModelConfig(**model), TrainingConfig(**value["training"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected the configuration of a run, got {error}") from None


def make_model(model: ModelConfig, training: TrainingConfig) -> SessionModel:
    """A new network; its parameters depend on the seed alone.

    Raises:
        ValueError: on options that the architecture does not take.
    """
    model_class = find_architecture(training.architecture)
    check_options(model_class, training.architecture, model.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return model_class(model, **model.options)


def make_baseline(model: ModelConfig, training: TrainingConfig) -> Baseline:
    """A baseline that has learnt nothing yet.

    Raises:
        TypeError, ValueError: on options that it does not take, or a value that is refused.
    """
    baseline_class = BASELINES[training.architecture]
    check_options(baseline_class, training.architecture, model.options)
    return baseline_class(model, **model.options)
