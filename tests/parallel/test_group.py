"""Groups of processes that one starts: how they end."""

from __future__ import annotations

import pytest
import torch

from tagnn_fast.parallel.group import joined
from tagnn_fast.parallel.layout import find_layout
from tagnn_fast.parallel.processes import LostProcessError
from tests.parallel.failing_work import NAME


def test_what_went_wrong_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """By the first one, in a line; what else the other prints is no message."""
    with pytest.raises(LostProcessError) as lost, joined(find_layout(2), NAME) as processes:  # noqa: PT012
        processes.told("no room")
        processes.wait()
    assert str(lost.value).startswith("lost rank 1 of 2 processes: no room in two lines; the training goes on")
    assert capfd.readouterr() == ("", "no message\n")


def test_error_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the others, and is raised as it is; each had its share of the threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with pytest.raises(ZeroDivisionError), joined(find_layout(2), NAME) as processes:  # noqa: PT012
            assert (processes.count, torch.get_num_threads()) == (2, 2)
            with pytest.raises(ValueError, match="got one"), joined(find_layout(2), NAME):
                pass
            raise ZeroDivisionError
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert not torch.distributed.is_initialized()


def test_process_that_never_joins() -> None:
    with (
        pytest.raises(LostProcessError, match="lost rank 1 of 2 processes: ended with status 1; "),
        joined(find_layout(2), "tests.parallel.no_such_module"),
    ):
        pass
