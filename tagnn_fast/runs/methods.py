"""Methods by the names that files and options give them: networks, which are trained, and baselines, which count."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tagnn_fast.baselines import BASELINES
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.nn.session_model import SessionModel


def find_method(name: str) -> type[SessionModel] | type[Baseline]:
    """The class of that name; raises ValueError where there is none."""
    if name not in method_names():
        raise ValueError(f"architecture: expected one of {', '.join(method_names())}, got {name!r}")
    return BASELINES[name] if name in BASELINES else ARCHITECTURES[name]


def method_names() -> list[str]:
    """All of them: the package's own networks, those that were registered, and the baselines."""
    return [*ARCHITECTURES, *BASELINES]


def check_options(method: type[SessionModel] | type[Baseline], name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError on options that the method of that name does not take."""
    signature = inspect.signature(method)
    try:
        signature.bind(None, **options)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "none"
        raise ValueError(f"options: expected what {name} takes ({takes}), {error}") from None
