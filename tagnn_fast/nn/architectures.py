"""The networks by the names that files and options give them, and how one's own gets a name."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.nn.attention_enhanced import AttentionEnhancedGNN
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP

BUILT_IN: dict[str, type[SessionModel]] = {
    "tagnn_pp": TAGNNPP,
    "tagnn": TAGNN,
    "sr_gnn": SRGNN,
    "attention_enhanced": AttentionEnhancedGNN,
}
ARCHITECTURES = dict(BUILT_IN)  # and what was registered
# Of tagnn_fast.baselines, which lies above this room: no network may have one of these.
BASELINE_NAMES = (
    "popularity",
    "session_popularity",
    "sequential_rules",
    "association_rules",
    "item_knn",
    "vs_knn",
    "vmis_knn",
    "stan",
    "vstan",
    "slist",
)
BLEND_NAMES = ("ensemble", "hybrid")  # what several runs together are called, nor one of these

# What encode must take: an empty session, one of skipped clicks, one with skipped clicks and the same without, and
# clicks behind the last session.
_SESSIONS = [[3, 5, 3, 6], [], [0, 7, 0, 3], [7, 3], [0]]
_BEHIND = [4, 0]


def register_architecture(name: str, model_class: type[SessionModel]) -> None:
    """Let `model_class` be trained, opened, evaluated and exported as the architecture of that name, in this process.

    A run's folder holds the name, not the class: register it wherever such a run is opened. Exported folders need
    neither. A name may be registered again, as a notebook's cell that runs twice does.

    The class is tried on a few sessions, in "clean" semantics: that it can be made of a ModelConfig alone, what
    :class:`SessionModel` asks of its encode, and that TorchScript gives the same.

    Args:
        name: what files and options call it; not one of the package's own.
        model_class: a subclass of SessionModel.

    Raises:
        TypeError: on a name that is no string, or another class.
        ValueError: on a name of the package's own, or a class that does not keep to what SessionModel asks.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name: expected a string, got {name!r}")
    if name in (taken := (*BUILT_IN, *BASELINE_NAMES, *BLEND_NAMES)):
        raise ValueError(f"name: expected another than {', '.join(taken)}, got {name!r}")
    if not (isinstance(model_class, type) and issubclass(model_class, SessionModel)):
        raise TypeError(f"model_class: expected a subclass of SessionModel, got {model_class!r}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        _try(model_class)
    ARCHITECTURES[name] = model_class


def find_architecture(name: str) -> type[SessionModel]:
    """The class of that name; raises ValueError where there is none."""
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {name!r}")
    return ARCHITECTURES[name]


def _try(model_class: type[SessionModel]) -> None:
    config = ModelConfig(num_items=9, hidden_size=8)
    what = f"model_class: expected {model_class.__name__}"
    try:
        model = model_class(config).double().eval()
    except TypeError as error:
        raise ValueError(f"{what} to be made of a ModelConfig alone, got {error}") from error
    items, offsets = _batch(_SESSIONS, _BEHIND)
    encoded = model.encode(items, offsets, None)
    if not isinstance(encoded, ops.EncodedSessions):
        raise ValueError(f"{what}.encode to give EncodedSessions, got {type(encoded).__name__}")
    scores = _scores(model, encoded)
    shape = (len(_SESSIONS), config.num_items)
    if tuple(scores.shape) != shape or not bool(scores.isfinite().all()):
        raise ValueError(f"{what} to give finite scores {shape} to sessions that may be empty, got {scores}")
    _expect_equal(f"{what}.encode to skip clicks on item 0", scores[[2, 4]], scores[[3, 1]])
    alone = [_scores(model, model.encode(*_batch([session]), None)) for session in _SESSIONS]
    _expect_equal(f"{what}.encode to give a session what it gives it alone", scores, torch.cat(alone))
    with torch.enable_grad():
        model.losses(items, offsets, torch.arange(1, len(_SESSIONS) + 1)).sum().backward()
    trained = [(name, value.grad) for name, value in model.named_parameters() if value.requires_grad]
    if wrong := [name for name, gradient in trained if gradient is None or not bool(gradient.isfinite().all())]:
        raise ValueError(
            f"{what} to have a finite gradient for each parameter that requires one, got another for {', '.join(wrong)}"
        )
    if model.can_explain and encoded.keys.shape[0] != model.graph(items, offsets, None).node_items.shape[0]:
        raise ValueError(f"{what}, which can_explain, to have keys in the slots of its graph, got {encoded.keys.shape}")
    try:
        scripted = torch.jit.script(model)
    except (RuntimeError, torch.jit.Error) as error:
        raise ValueError(f"{what} to be scripted by TorchScript, got {error}") from error
    _expect_equal(f"{what} to give the same in TorchScript", scores, scripted(items, offsets))


def _batch(sessions: list[list[int]], behind: list[int] | None = None) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([0, *map(len, sessions)])
    clicks = [item for session in sessions for item in session] + (behind or [])
    return torch.tensor(clicks, dtype=torch.int64), lengths.cumsum(0)


def _scores(model: SessionModel, encoded: ops.EncodedSessions) -> Tensor:
    return ops.target_attention_scores(encoded, model.item_vectors())


def _expect_equal(what: str, actual: Tensor, expected: Tensor) -> None:
    if not torch.allclose(actual, expected, rtol=1e-9, atol=1e-9):
        raise ValueError(f"{what}, got scores that differ by {float((actual - expected).abs().max()):.2g}")
