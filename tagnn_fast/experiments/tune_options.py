"""What a tuning tries: the values that are drawn, those that are fixed, and what is tried first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.nn.search_space import SearchSpace
from tagnn_fast.runs.methods import find_method, method_names
from tagnn_fast.training.fit import plan
from tagnn_fast.training.options import OPTIONS, with_config

_PROTOCOL = "held-out"  # the only one that trains without, and scores on, sessions of training
_OURS = ("preset", "architecture", "protocol", "options")


@dataclass(frozen=True)
class Options:
    """What is tried, checked when made.

    Attributes:
        model: name of the method.
        fixed: options that have the same value in each trial.
        space: the values to draw the others from.
        first: what is tried first, each a value for all of `space`: the defaults, then what was asked for.
        others: options that are neither fixed nor in `space`, each with its default.
    """

    model: str
    fixed: Mapping[str, Any]
    space: SearchSpace
    first: Sequence[Mapping[str, Any]]
    others: Mapping[str, Any]

    def configuration(self, tried: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's options as :func:`tagnn_fast.fit` takes them, without the protocol."""
        return _as_given(self.model, {**self.fixed, **tried})

    def arguments(self, tried: Mapping[str, Any]) -> dict[str, Any]:
        """All that a trial hands to :func:`tagnn_fast.fit` beside data set and folder."""
        return {**self.configuration(tried), "protocol": _PROTOCOL}


def choose_options(
    dataset: Dataset, model: str, fix: Mapping[str, Any], start: Sequence[Mapping[str, Any] | str | Path]
) -> Options:
    """What is tried for a model on a data set.

    Args:
        dataset: without test sessions.
        model: name of the method.
        fix: options by name, of `fit` or of the method itself.
        start: configurations to try after the defaults, or files of them.

    Raises:
        TypeError, ValueError: on an unknown model, an option that is refused, a start outside the space, or where
            nothing is left to tune.
    """
    if not isinstance(fix, Mapping):
        raise TypeError(f"fix: expected options by name, got {fix!r}")
    if ours := [name for name in _OURS if name in fix]:
        raise ValueError(f"fix: expected options of {model} and of its training, got {ours[0]!r}")
    if unsaid := [name for name, value in fix.items() if value is None]:
        raise ValueError(f"fix: expected a value for {unsaid[0]}, got none, which would be its default")
    if model not in method_names():
        raise ValueError(f"model: expected one of {', '.join(method_names())}, got {model!r}")
    declared = find_method(model).search_space
    space = {name: values for name, values in declared.items() if name not in fix}
    if not space:
        raise ValueError(f"model: expected one with options to tune, got {model!r}, which has none but those fixed")
    defaults = _defaults(dataset, model, fix)
    for name, values in space.items():
        if name not in defaults or defaults[name] not in values:
            raise ValueError(
                f"search_space: expected each option of {model} with its default, got {name} ({values}), whose default "
                f"is {defaults.get(name)!r}"
            )
    usual = {name: defaults[name] for name in space}
    if isinstance(start, str) or not isinstance(start, Sequence):
        raise TypeError(f"start: expected a list of configurations or files, got {start!r}")
    first = [usual, *({**usual, **_start(one, model, fix, space)} for one in start)]
    others = {name: value for name, value in defaults.items() if name not in space and name not in fix}
    return Options(model, dict(fix), space, first, others)


def _as_given(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name as `fit` takes them: what it does not know is the method's own."""
    known = {name: value for name, value in options.items() if name in OPTIONS}
    own = {name: value for name, value in options.items() if name not in OPTIONS}
    return {"architecture": model, **known, **({"options": own} if own else {})}


def _defaults(dataset: Dataset, model: str, fix: Mapping[str, Any]) -> dict[str, Any]:
    """What each option is where nobody says anything; refuses what no trial could be."""
    configurations = plan(dataset, {**_as_given(model, fix), "protocol": _PROTOCOL})
    own = inspect.signature(find_method(model)).parameters.values()
    return {
        **{name: value for part in configurations for name, value in asdict(part).items()},
        **{parameter.name: parameter.default for parameter in own if parameter.default is not parameter.empty},
    }


def _start(
    given: Mapping[str, Any] | str | Path, model: str, fix: Mapping[str, Any], space: SearchSpace
) -> dict[str, Any]:
    """What a configuration says of the space."""
    if not isinstance(given, (Mapping, str, Path)):
        raise TypeError(f"start: expected configurations or files, got {given!r}")
    read = with_config(given, {}) if isinstance(given, (str, Path)) else dict(given)
    own = read.pop("options", {})
    if not isinstance(own, Mapping):
        raise TypeError(f"start: expected options by name in 'options', got {own!r}")
    flat = {**read, **own}
    for name, value in flat.items():
        if name in space and value not in space[name]:
            raise ValueError(f"start: expected {name} {space[name]}, got {value!r}")
        if name not in space and value != {"architecture": model, **fix}.get(name):
            raise ValueError(
                f"start: expected options to tune ({', '.join(space)}), or what is fixed, got {name} {value!r}"
            )
    return {name: value for name, value in flat.items() if name in space}
