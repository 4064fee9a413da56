"""Options of a training by name: from a file, from a call, and whether the chosen network uses them."""

from __future__ import annotations

import json
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tagnn_fast.checks import check_path
from tagnn_fast.nn.architectures import find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.runs.configuration import TrainingConfig

OPTIONS = {field.name for kind in (ModelConfig, TrainingConfig) for field in fields(kind)} - {"num_items"} | {"preset"}


def with_config(config: str | Path | Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a configuration, replaced by those that are given; `options` of an architecture one by one.

    Args:
        config: a JSON or TOML file, or a mapping, of options of :func:`tagnn_fast.fit` by name; None values count as
            not there.
        given: options by name, without those that are None.

    Raises:
        TypeError: on anything else.
        FileNotFoundError: where there is no such file.
        ValueError: where it is damaged or has anything but options of `fit`.
    """
    read = {} if config is None else _read(config)
    if "options" in read and isinstance(given.get("options"), Mapping):
        return {**read, **given, "options": {**read["options"], **given["options"]}}
    return {**read, **given}


def _read(config: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, Mapping):
        where, content = "config", config
    elif isinstance(config, (str, Path)):
        where, content = str(config), _load(check_path(config, "config", "a file"))
    else:
        raise TypeError(f"config: expected a file or a mapping of options, got {reprlib.repr(config)}")
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected options by name, got {reprlib.repr(content)}")
    if unknown := [name for name in content if name not in OPTIONS]:
        raise ValueError(f"{where}: expected options of fit ({', '.join(sorted(OPTIONS))}), got {unknown[0]!r}")
    if not isinstance(content.get("options", {}), Mapping):
        raise ValueError(f"{where}: expected options by name in 'options', got {reprlib.repr(content['options'])}")
    return {name: value for name, value in content.items() if value is not None}


def _load(path: Path) -> Any:
    if path.suffix not in (".json", ".toml"):
        raise ValueError(f"config: expected a .json or .toml file, got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"config: expected a file, got {path}")
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected {path.suffix[1:].upper()}, got {error}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError on a name that is there twice, of which JSON would take the last."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name twice in one object")
    return value


def check_used(given: Mapping[str, Any], model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse options that were given and that the network does not use.

    Raises:
        ValueError: naming the first.
    """
    for name in sorted(given.keys() & find_architecture(training.architecture).unused):
        raise ValueError(
            f"{name}: expected none with {training.architecture}, which does not use it, got {given[name]!r}"
        )
    if training.schedule == "cosine":
        for name in ("first_decay", "decay_every", "decay_factor"):
            if name in given:
                raise ValueError(f"{name}: expected none with a cosine schedule, got {given[name]!r}")
    if "session_share" in given and model.cosine_scale is None:
        raise ValueError(f"session_share: expected none without a cosine_scale, got {given['session_share']!r}")
    if "padded_length" in given and model.semantics == "clean":
        raise ValueError(f"padded_length: expected none in clean semantics, got {given['padded_length']!r}")


def parse_options(texts: Sequence[str], flag: str = "--option") -> dict[str, Any]:
    """Options that a flag of the command line gives as ``NAME=VALUE``: values are JSON, any other text is a string.

    Raises:
        ValueError: without a name or an equals sign, or on a name that is there twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"{flag}: expected NAME=VALUE, got {text!r}")
        if name in options:
            raise ValueError(f"{flag}: expected each name once, got {name} twice")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options
