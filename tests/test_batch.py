"""SessionBatch.from_lists."""

import numpy as np
import pytest
import torch

from tagnn_fast import SessionBatch


def test_from_lists() -> None:
    batch = SessionBatch.from_lists([[3, 9, 3], (5,), np.array([7, 7]), [np.uint8(4)], torch.tensor([6])])
    assert batch.items.tolist() == [3, 9, 3, 5, 7, 7, 4, 6]
    assert batch.offsets.tolist() == [0, 3, 4, 6, 7, 8]
    assert batch.items.dtype == batch.offsets.dtype == torch.int64


def test_no_sessions() -> None:
    batch = SessionBatch.from_lists([])
    assert batch.items.tolist() == []
    assert batch.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("sessions", "kind", "message"),
    [
        ([[1], []], ValueError, "sessions: expected at least one click each, got none in sessions[1]"),
        ([[1, 0]], ValueError, "sessions: expected item ids from 1 to 2^63 - 1, got 0 in sessions[0]"),
        ([[1], [2, -3]], ValueError, "sessions: expected item ids from 1 to 2^63 - 1, got -3 in sessions[1]"),
        ([[1], [2**63]], ValueError, f"sessions: expected item ids from 1 to 2^63 - 1, got {2**63} in sessions[1]"),
        ([[np.True_]], TypeError, "sessions: expected integer item ids, got np.True_ in sessions[0]"),
        ([[torch.tensor(True)]], TypeError, "sessions: expected integer item ids, got tensor(True) in sessions[0]"),
        ([[1.0]], TypeError, "sessions: expected integer item ids, got 1.0 in sessions[0]"),
        ([["7"]], TypeError, "sessions: expected integer item ids, got '7' in sessions[0]"),
        ([[True]], TypeError, "sessions: expected integer item ids, got True in sessions[0]"),
    ],
)
def test_errors(sessions: list[list[int]], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        SessionBatch.from_lists(sessions)
    assert str(error.value) == message
