"""What this machine cannot run is said here once, since the tests leave it out: a GPU, instruction sets."""

from __future__ import annotations

import pytest

from tests.support import CAPABILITIES, DEVICES, INSTRUCTION_SETS


def test_gpu() -> None:
    if "cuda" not in DEVICES:
        pytest.skip("no GPU that PyTorch can use: nothing is tested on one")


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_instruction_set(name: str) -> None:
    if name not in CAPABILITIES:
        pytest.skip(f"a machine without {name}: its kernels are not tested")
