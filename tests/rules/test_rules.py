"""`prepare logs` and `recommend` on random logs, options and sessions, against the rules in plain Python.

TAGNN_FAST_EXAMPLES is how many are tried; each is made from its number.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rules.comparing import check_prepare
from tests.rules.examples import example
from tests.rules.recommending import check_recommend


@pytest.mark.parametrize("seed", range(int(os.environ.get("TAGNN_FAST_EXAMPLES", "40"))))
def test_example(seed: int, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    made = example(seed, tmp_path / "log")
    print(made)
    dataset = check_prepare(made, tmp_path / "out")
    if dataset is not None:
        check_recommend(dataset, tmp_path, seed)
