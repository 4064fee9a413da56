"""Files of sessions that users were refused, or answered wrongly."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tagnn_fast.runs.run import open_run
from tests.cli.commands import succeed
from tests.runs.small_runs import write_run
from tests.support import shared


def test_one_bad_id(tmp_path: Path) -> None:
    """An id that no item has is skipped, and the rows beside it are answered."""
    run = write_run(tmp_path, range(214500001, 214500010))
    path, output = shared("field_cases/one-bad-id/sessions.csv"), tmp_path / "o.parquet"
    succeed("recommend", run, "--input", path, "--output", output, "-k", 3)
    table = pq.read_table(output).to_pydict()
    assert table["session"] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert table["answer"] == ["model"] * 9
    assert table["skipped"] == [0] * 3 + [1] * 3 + [0] * 3
    assert table["error"] == [None] * 9
    recommender = open_run(run).recommender()
    for place, item in enumerate((214500001, 214500002, 214500003)):
        alone = recommender.recommend([[item]], 3).items[0]
        assert table["item"][3 * place : 3 * place + 3] == alone


def test_an_id_with_a_zero_before_it(tmp_path: Path) -> None:
    """It is another id, which no item has."""
    run = write_run(tmp_path, range(214500001, 214500010))
    printed = succeed("recommend", run, "0214500001", "-k", 2)
    assert "no item of it is known" in " ".join(printed.split())
