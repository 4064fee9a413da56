"""Signals that ask a training to stop: none is lost, whenever it comes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tagnn_fast import blend, fit
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.observer import Observer
from tagnn_fast.training.stopping import Interrupted, stop_on_signal
from tests.training.blends import QUIET, trained

DATASET = synthetic_dataset(clicks=500, items=40)


def asked(number: signal.Signals, error: Exception | None = None, twice: bool = False) -> None:
    """A block that is asked to stop, and ends, or fails."""
    with stop_on_signal() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        if twice:
            signal.raise_signal(number)
        if error is not None:
            raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_nobody_looked_for(number: signal.Signals) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match="^stopped at its end"):
        asked(number)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_second_ctrl_c() -> None:
    """It breaks off; afterwards Ctrl-C is what it was."""
    with pytest.raises(KeyboardInterrupt) as error:
        asked(signal.SIGINT, twice=True)
    assert error.type is KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_error_of_the_block() -> None:
    """Says more than that somebody wanted to stop."""
    with pytest.raises(ValueError, match="mine"):
        asked(signal.SIGINT, ValueError("mine"))


def test_while_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does not go on to its next training; the same call has the result."""
    monkeypatch.setattr("tagnn_fast.training.loop.plot_curves", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    options = {"config": {"hidden_size": 8, "epochs": 1, "preset": "clean"}, "observer": Observer()}
    with pytest.raises(Interrupted):
        fit(DATASET, tmp_path / "run", **options)
    monkeypatch.undo()
    run = fit(DATASET, tmp_path / "run", **options)
    assert run.result is not None
    assert len(run.test_reads()) == 1


def test_while_a_blend_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [trained(tmp_path / name, name) for name in ("item_knn", "sequential_rules")]
    write = blend.__globals__["write_json"]

    def asked_meanwhile(path: Path, value: object) -> None:
        write(path, value)
        if path.name == "result.json":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(blend.__globals__, "write_json", asked_meanwhile)
    with pytest.raises(Interrupted):
        blend(members, tmp_path / "blend", observer=QUIET)
    assert blend(members, tmp_path / "blend", observer=QUIET).result is not None
