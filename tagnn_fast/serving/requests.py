"""What a served model is asked: each failure names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import torch
from torch import Tensor

from tagnn_fast.checks import as_integer, check_count, is_table

NO_ITEM = -1  # in answers, where there are fewer items than were asked for
UNKNOWN_ID = -(2**63)  # stands for what no item's integer can be; no item may have it


def integer_id(value: Any) -> int:
    """An item id of a model whose ids are integers; :data:`UNKNOWN_ID` for what no 64-bit integer can be.

    Integers are taken as they are, and texts that come out again when they are read as an integer and written; other
    texts are unknown items.

    Raises:
        TypeError: on anything else, truth values among it.
    """
    value = _plain(value)
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            return UNKNOWN_ID
        return number if str(number) == value and -(2**63) <= number < 2**63 else UNKNOWN_ID
    integer = as_integer(value)
    if integer is None:
        raise TypeError(f"item ids: expected integers as in the model, got {value!r} ({type(value).__name__})")
    return integer if -(2**63) <= integer < 2**63 else UNKNOWN_ID


def string_id(value: Any) -> str:
    """An item id of a model whose ids are strings.

    Raises:
        TypeError: on anything else.
    """
    value = _plain(value)
    if not isinstance(value, str):
        raise TypeError(f"item ids: expected strings as in the model, got {value!r} ({type(value).__name__})")
    return value


def _plain(value: Any) -> Any:
    """An Arrow scalar's value, anything else as it is."""
    return value.as_py() if hasattr(value, "as_py") else value


def plain_list(values: Any, name: str) -> list[Any]:
    """The values of a list, an array (NumPy, Arrow) or a tensor.

    Raises:
        TypeError: on anything else, a text, a data frame and a mapping among it.
    """
    if is_table(values):
        raise TypeError(f"{name}: expected a list, got a {type(values).__name__}")
    for method in ("tolist", "to_pylist"):
        if hasattr(values, method):
            values = getattr(values, method)()
            break
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a list, got {values!r}")
    return list(values)


def flat_sessions(sessions: Any, item_id: Callable[[Any], Any]) -> tuple[list[Any], Tensor]:
    """Item ids of all clicks, and where each session begins and the last ends, int64 (sessions + 1,).

    Raises:
        TypeError: on a session without an order, a set for one, and see :func:`plain_list` and `item_id`.
    """
    lists: list[list[Any]] = []
    arrow = hasattr(sessions, "to_pylist")  # where null is a session without clicks
    for session in plain_list(sessions, "sessions"):
        if session is None and arrow:
            lists.append([])
            continue
        if isinstance(session, (Set, Mapping)) or not hasattr(session, "__len__"):
            raise TypeError(f"sessions: each session: expected a list, got {session!r}")
        lists.append(plain_list(session, "sessions: each session"))
    ends = torch.tensor([0, *map(len, lists)]).cumsum(0)
    return [item_id(value) for session in lists for value in session], ends


def list_length(k: Any, items: int, k_max: int) -> int:
    """How many items to answer with: k, or all items where that is fewer.

    Raises:
        TypeError: on a k that is no integer.
        ValueError: on a k under 1, or where that many are above `k_max`, the longest list of an export's programs.
    """
    length = min(check_count(k, "k"), items)
    if length > k_max:
        raise ValueError(f"k: expected 1..{k_max}, the longest list of this export's programs (k_max), got {k}")
    return length
