"""What the plan prints is what the documentation says."""

from __future__ import annotations

import pytest

from benchmarks.jobs import scaling_plan
from tests.support import ROOT


def test_documented(capsys: pytest.CaptureFixture[str]) -> None:
    scaling_plan.main()
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 2
    documented = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert all(table in documented for table in tables)


def test_what_was_measured() -> None:
    """The planned step is the measured one where the sizes are."""
    for _, machine in scaling_plan.MACHINES:
        loss = scaling_plan.operations(512, 43_097) / machine.operations_per_second
        assert loss * machine.faster == pytest.approx(machine.step_milliseconds / 1e3)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(7.2e-5, "72 µs"), (0.0031, "3.1 ms"), (90, "1.5 min"), (7200, "2.0 h")]
)
def test_duration(seconds: float, shown: str) -> None:
    assert scaling_plan.duration(seconds) == shown
