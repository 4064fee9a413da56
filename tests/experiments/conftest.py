"""Experiments train many models; nobody looks at their curves here, which take longer to draw than the trainings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def without_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagnn_fast.training.loop.plot_curves", lambda *arguments: None)
        yield
