"""Budgets as people write them."""

from __future__ import annotations

import pytest

from tagnn_fast.experiments.budget import seconds_of


@pytest.mark.parametrize(
    ("budget", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), (" 0.5s ", 0.5)]
)
def test_times(budget: str, seconds: float) -> None:
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["x", "", "90", "0s", "0.0h", "-1h", "1 h", "1h3m", "h", "1d", "nans", "1e3s", "٣m"])
def test_no_times(budget: str) -> None:
    with pytest.raises(ValueError) as error:
        seconds_of(budget)
    assert str(error.value) == f"budget: expected a time such as 90s, 30m or 2h, got {budget!r}"


@pytest.mark.parametrize("budget", [90, 1.5, None, True])
def test_no_strings(budget: object) -> None:
    with pytest.raises(TypeError, match="budget: expected a time such as 90s, 30m or 2h, got"):
        seconds_of(budget)  # type: ignore[arg-type]
