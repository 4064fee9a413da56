"""Sessions in memory: made from lists, sliced, and refused where they do not fit together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.data import Sessions

LISTS = [[3, 9, 3], [5], [7, 7], [1, 2, 3, 4]]


def as_lists(sessions: Sessions) -> list[list[int]]:
    return [part.tolist() for part in sessions.clicks.split(sessions.offsets.diff().tolist())]


def test_from_lists() -> None:
    sessions = Sessions.from_lists([[3, 9, 3], (5,), torch.tensor([7, 7]).numpy()])
    assert sessions.clicks.tolist() == [3, 9, 3, 5, 7, 7]
    assert sessions.offsets.tolist() == [0, 3, 4, 6]
    assert sessions.examples.tolist() == [2, 0, 1]
    assert (sessions.clicks.dtype, sessions.offsets.dtype, sessions.examples.dtype) == (
        torch.int32,
        torch.int64,
        torch.int64,
    )
    assert len(sessions) == 3


def test_no_sessions() -> None:
    sessions = Sessions.from_lists([])
    assert len(sessions) == 0
    assert (sessions.clicks.tolist(), sessions.offsets.tolist(), sessions.examples.tolist()) == ([], [0], [])


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6), max_size=6), st.data())
def test_slice(lists: list[list[int]], data: st.DataObject) -> None:
    sessions = Sessions.from_lists(lists)
    assert as_lists(sessions) == lists
    begin = data.draw(st.integers(0, len(lists)))
    end = data.draw(st.integers(begin, len(lists)))
    part = sessions.slice(begin, end)
    assert as_lists(part) == lists[begin:end]
    assert part.examples.tolist() == [len(session) - 1 for session in lists[begin:end]]


def test_slice_shares_clicks() -> None:
    """A slice costs no clicks and keeps how many of them are targets."""
    whole = Sessions.from_lists(LISTS)
    sessions = Sessions(whole.clicks, whole.offsets, torch.tensor([1, 0, 0, 2]))
    part = sessions.slice(2, 4)
    assert part.clicks.data_ptr() == sessions.clicks[4:].data_ptr()
    assert part.examples.tolist() == [0, 2]
    assert as_lists(part.slice(1, 2)) == LISTS[3:]


CLICKS = torch.tensor([3, 9, 5], dtype=torch.int32)
OFFSETS = torch.tensor([0, 2, 3])
EXAMPLES = torch.tensor([1, 0])


@pytest.mark.parametrize(
    ("clicks", "offsets", "examples", "kind", "message"),
    [
        (
            CLICKS.long(),
            OFFSETS,
            EXAMPLES,
            TypeError,
            "clicks: expected a vector of torch.int32, got torch.int64 (3,)",
        ),
        (
            CLICKS[None],
            OFFSETS,
            EXAMPLES,
            TypeError,
            "clicks: expected a vector of torch.int32, got torch.int32 (1, 3)",
        ),
        (
            CLICKS,
            OFFSETS.int(),
            EXAMPLES,
            TypeError,
            "offsets: expected a vector of torch.int64, got torch.int32 (3,)",
        ),
        (
            CLICKS,
            OFFSETS,
            EXAMPLES.float(),
            TypeError,
            "examples: expected a vector of torch.int64, got torch.float32 (2,)",
        ),
        (
            CLICKS,
            OFFSETS[:0],
            EXAMPLES,
            ValueError,
            "offsets: expected to run from 0 to the number of clicks 3, got []..[]",
        ),
        (
            CLICKS,
            OFFSETS + 1,
            EXAMPLES,
            ValueError,
            "offsets: expected to run from 0 to the number of clicks 3, got [1]..[4]",
        ),
        (
            CLICKS,
            OFFSETS[:2],
            EXAMPLES,
            ValueError,
            "offsets: expected to run from 0 to the number of clicks 3, got [0]..[2]",
        ),
        (
            CLICKS,
            torch.tensor([0, 2, 2, 3]),
            EXAMPLES,
            ValueError,
            "sessions: expected at least one click in each, got none in session 1",
        ),
        (
            CLICKS,
            torch.tensor([0, 4, 3]),
            EXAMPLES,
            ValueError,
            "sessions: expected at least one click in each, got none in session 1",
        ),
        (-CLICKS, OFFSETS, EXAMPLES, ValueError, "clicks: expected item indices of 0 and more, got -9"),
        (
            CLICKS,
            OFFSETS,
            EXAMPLES[:1],
            ValueError,
            "examples: expected one number per session, less than its clicks",
        ),
        (
            CLICKS,
            OFFSETS,
            EXAMPLES + 1,
            ValueError,
            "examples: expected one number per session, less than its clicks",
        ),
        (
            CLICKS,
            OFFSETS,
            -EXAMPLES,
            ValueError,
            "examples: expected one number per session, less than its clicks",
        ),
    ],
)
def test_errors(clicks: Tensor, offsets: Tensor, examples: Tensor, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        Sessions(clicks, offsets, examples)
    assert str(error.value) == message


def test_empty_session_in_lists() -> None:
    with pytest.raises(ValueError) as error:
        Sessions.from_lists([[1], []])
    assert str(error.value) == "sessions: expected at least one click in each, got none in session 1"


@pytest.mark.parametrize("item", [1.5, 2**31, -1])
def test_items_that_are_no_index(item: float) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        Sessions.from_lists([[1, item]])  # type: ignore[list-item]
