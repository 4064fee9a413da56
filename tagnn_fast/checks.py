"""Checks of what users hand to the models: each failure names the argument, what was expected and what came.

They read values, so models skip them where there are none to read: in TorchScript and under torch.compile/export.
"""

import operator
import os
import reprlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def as_integer(value: object) -> int | None:
    """The integer that a value is, Python's, NumPy's or one of a tensor; None for a bool and for anything else."""
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.dim() or value.dtype == torch.bool)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        return None


def is_table(value: object) -> bool:
    """Whether a value is a data frame, table or mapping, which as a list would be its columns' names or its keys."""
    return hasattr(value, "columns") or isinstance(value, Mapping)


def check_integer_vector(value: Tensor, name: str) -> None:
    """Raise TypeError unless `value` is an int64 tensor, ValueError unless it has one dimension."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected an int64 tensor, got {type(value).__name__}")
    if value.dtype != torch.int64:
        raise TypeError(f"{name}: expected int64, got {str(value.dtype).removeprefix('torch.')}")
    if value.dim() != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {tuple(value.shape)}")


def check_same_device(value: Tensor, name: str, model: Tensor) -> None:
    """Raise ValueError unless `value` lies where the model does."""
    if value.device != model.device:
        raise ValueError(f"{name}: expected on the model's device {model.device}, got on {value.device}")


def check_item_ids(value: Tensor, name: str, num_items: int) -> None:
    """Raise ValueError unless all ids are in 1..num_items."""
    if value.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in value.aminmax())
    if lowest < 1 or highest > num_items:
        raise ValueError(f"{name}: expected ids in 1..{num_items}, got {lowest if lowest < 1 else highest}")


def check_sessions(items: Tensor, offsets: Tensor, table: Tensor) -> None:
    """Check a batch of sessions against the item table, float (num_items + 1, hidden).

    Raises:
        TypeError: on a wrong type or dtype.
        ValueError: on a wrong shape or device, an id outside 1..num_items, offsets that do not start at 0, fall, or do
            not end at the number of clicks, or an empty session.
    """
    for value, name in ((items, "items"), (offsets, "offsets")):
        check_integer_vector(value, name)
        check_same_device(value, name, table)
    check_item_ids(items, "items", table.shape[0] - 1)
    check_offsets_strictly(offsets, items.numel())


def check_offsets_strictly(offsets: Tensor, clicks: int) -> None:
    """What the networks ask of int64 offsets, (sessions + 1,): to rise from 0 to the number of clicks, at each session.

    Raises:
        ValueError: where they do not start at 0, fall, or do not end at the number of clicks, or on an empty session.
    """
    if offsets.numel() == 0:
        raise ValueError("offsets: expected one more than there are sessions, got none")
    first, last = int(offsets[0]), int(offsets[-1])
    if first != 0:
        raise ValueError(f"offsets: expected to start at 0, got {first}")
    if last != clicks:
        raise ValueError(f"offsets: expected to end at the number of clicks {clicks}, got {last}")
    lengths = offsets.diff()
    if lengths.numel() > 0 and int(lengths.min()) < 1:
        session = int(lengths.argmin())
        got = "an empty session" if int(lengths[session]) == 0 else f"{int(lengths[session])} clicks"
        raise ValueError(f"offsets: expected at least one click in each session, got {got} at session {session}")


def rise_to(offsets: Tensor, clicks: int) -> bool:
    """Whether offsets, int64 (sessions + 1,), rise from 0 to the number of clicks. TorchScript can compile it."""
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or offsets.shape[0] == 0:
        return False
    return int(offsets[0]) == 0 and int(offsets[-1]) == clicks and bool((offsets.diff() >= 0).all())


def check_offsets_leniently(offsets: Tensor, clicks: int) -> None:
    """What those who recommend ask of offsets, (sessions + 1,): sessions may be empty.

    Raises:
        TypeError: on a wrong type or dtype.
        ValueError: on a wrong shape, or where they do not rise from 0 to the number of clicks.
    """
    check_integer_vector(offsets, "offsets")
    if not rise_to(offsets, clicks):
        raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {clicks}, got others")


def check_targets(targets: Tensor, offsets: Tensor, table: Tensor) -> None:
    """Check the item that follows each session: int64 (sessions,), at least one, ids in 1..num_items."""
    check_integer_vector(targets, "targets")
    check_same_device(targets, "targets", table)
    sessions = offsets.numel() - 1
    if targets.numel() != sessions or sessions == 0:
        raise ValueError(f"targets: expected one per session and at least one, got {targets.numel()} for {sessions}")
    check_item_ids(targets, "targets", table.shape[0] - 1)


def check_count(value: object, name: str, lowest: int = 1, highest: int | None = None) -> int:
    """An integer argument as Python's own; raises TypeError on another type (a bool too), ValueError outside bounds."""
    number = as_integer(value)
    if number is None:
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if number < lowest:
        raise ValueError(f"{name}: expected {lowest} or more, got {number}")
    if highest is not None and number > highest:
        raise ValueError(f"{name}: expected at most {highest}, got {number}")
    return number


def check_real(value: object, name: str) -> float:
    """A real number as Python's own, of NumPy's too; raises TypeError on another type (a bool too)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a float, got {value!r}")
    return value.item() if isinstance(value, np.generic) else value


def check_number(value: object, name: str, low: float, high: float = float("inf")) -> float:
    """A finite real number in low..high as a float; raises TypeError on another type, ValueError on another number."""
    number = float(check_real(value, name))
    if not low <= number <= high or number == float("inf"):
        raise ValueError(f"{name}: expected a number in {low:g}..{high:g}, got {number:g}")
    return number


def differing(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """For people: which of the wanted values were found to be others; empty if none."""
    return ", ".join(
        f"{name} {found.get(name)!r} instead of {value!r}" for name, value in wanted.items() if found.get(name) != value
    )


def check_path(value: object, name: str, expected: str) -> Path:
    """A path, or a string that is one, with ~ for the home folder; raises TypeError on anything else."""
    if not isinstance(value, (str, PathLike)):
        raise TypeError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
    return Path(os.path.expanduser(value))


def check_flag(value: object, name: str) -> bool:
    """A truth value as Python's own, of NumPy's too; raises TypeError on another type."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_text(value: object, name: str) -> str:
    """A string; raises TypeError on another type."""
    if not isinstance(value, str):
        found = type(value).__name__ if is_table(value) else repr(value)  # in one line
        raise TypeError(f"{name}: expected a string, got {found}")
    return value


def check_k(k: int, num_items: int) -> int:
    """A number of recommendations, 1..num_items; raises TypeError and ValueError on others."""
    number = as_integer(k)
    if number is None:
        raise TypeError(f"k: expected an int, got {k!r}")
    if not 1 <= number <= num_items:
        raise ValueError(f"k: expected 1..{num_items}, got {number}")
    return number


def check_padded_length(padded_length: int | None) -> int | None:
    """A padded length given per call, None or 0 and more; raises TypeError and ValueError on others."""
    if padded_length is None:
        return None
    number = as_integer(padded_length)
    if number is None:
        raise TypeError(f"padded_length: expected an int or None, got {padded_length!r}")
    if number < 0:
        raise ValueError(f"padded_length: expected 0 or more, got {number}")
    return number
