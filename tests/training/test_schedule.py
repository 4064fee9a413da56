"""Which epoch is chosen, the learning rates, and when a training is over."""

from __future__ import annotations

from typing import Any

import pytest

from tagnn_fast.runs.configuration import TrainingConfig
from tagnn_fast.training.schedule import choose_epoch, is_over, learning_rate


def scored(*values: float) -> list[dict[str, Any]]:
    """Epochs with these validation MRR@20."""
    return [
        {"epoch": epoch, "validation": {"HR@20": -epoch, "MRR@5": -epoch, "MRR@20": value}}
        for epoch, value in enumerate(values, start=1)
    ]


def rates(options: TrainingConfig, history: list[dict[str, Any]]) -> list[float]:
    return [learning_rate(options, history[:epochs]) for epochs in range(len(history) + 1)]


def test_choose_epoch() -> None:
    assert choose_epoch(scored(2, 3, 3)) == 2
    assert choose_epoch([{"epoch": 1}, {"epoch": 2}]) == 2


def test_rates_fixed_beforehand() -> None:
    options = TrainingConfig(learning_rate=1.0, first_decay=0, decay_every=2)
    assert rates(options, [{"epoch": epoch} for epoch in range(1, 5)]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3])


@pytest.mark.parametrize(
    ("first_decay", "decay_every", "expected"),
    [
        (None, None, [1, 1, 1, 0.1, 0.1, 0.01, 1e-3]),
        (1, None, [1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-4]),
        (None, 2, [1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        (5, None, [1, 1, 1, 1, 1, 0.1, 0.01]),
    ],
)
def test_rates_by_validation(first_decay: int | None, decay_every: int | None, expected: list[float]) -> None:
    """Cut after each epoch that is no better than all before."""
    options = TrainingConfig(learning_rate=1.0, first_decay=first_decay, decay_every=decay_every)
    assert rates(options, scored(1, 2, 2, 3, 2, 1)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("patience", "over"), [(0, [6]), (1, [3, 5, 6]), (2, [5, 6]), (3, [6]), (9, [6])], ids=lambda value: str(value)
)
def test_patience(patience: int, over: list[int]) -> None:
    options, history = TrainingConfig(epochs=6, patience=patience), scored(1, 2, 2, 3, 2, 1)
    if patience == 2:
        history[4:] = scored(1, 2, 2, 3, 3, 3)[4:]
        over = [6]
    assert [epochs for epochs in range(7) if is_over(options, history[:epochs])] == over
