"""What the folder of a blend says of its members."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tagnn_fast.files import load_json

_MEMBER = {"run", "architecture", "seed", "weights"}


def check_members(members: object, path: Path) -> list[Mapping[str, Any]]:
    """What a configuration file says of them; raises ValueError where that is none."""
    named = isinstance(members, list) and all(isinstance(one, dict) and one.keys() >= _MEMBER for one in members)
    if not members or not named:
        raise ValueError(f"{path}: expected the members of a blend, got {reprlib.repr(members)}")
    return members  # type: ignore[return-value]


def check_weights(members: Sequence[Mapping[str, Any]], found: Mapping[Path, str], folder: Path) -> None:
    """Raise ValueError unless these digests of files are those that a blend's folder has of its members' weights."""
    for member, (path, digest) in zip(members, found.items(), strict=True):
        if digest != member["weights"]:
            raise ValueError(f"{path}: expected the weights that {folder} was made of, got others")


def read_choice(path: Path, members: int) -> dict[str, Any]:
    """What each member weighs, "weights", and what led to that.

    Raises:
        FileNotFoundError: before it was chosen.
        ValueError: where the file is damaged.
    """
    content = load_json(path)
    weights = content.get("weights") if isinstance(content, dict) else None
    shares = isinstance(weights, list) and all(isinstance(one, (int, float)) and 0 <= one <= 1 for one in weights)
    if not weights or not shares or len(weights) != members or not math.isclose(sum(weights), 1):
        raise ValueError(f"{path}: expected {members} weights that are 1 together, got {reprlib.repr(weights)}")
    return content  # type: ignore[no-any-return]
