"""`tagnn-fast similar`: the items most like some items."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tagnn_fast.runs.run import open_run
from tests.cli.commands import refused, run, succeed
from tests.cli.session_tables import rows, titles
from tests.runs.small_runs import write_run


def test_similar(trained: Path) -> None:
    known = pq.read_table(trained / "items.parquet")["raw_id"].to_pylist()
    printed = succeed("similar", trained, known[3], "-k", 5)
    expected = open_run(trained).recommender().similar([known[3]], 5).to_pylist()
    assert printed.startswith(f"like {known[3]}\n")
    titled = titles(trained)
    assert rows(printed) == [
        [str(row["rank"]), str(row["similar"]), f"{row['cosine']:.4f}", titled[row["similar"]]] for row in expected
    ]
    assert len(rows(succeed("similar", trained, known[3]))) == 20
    assert len(rows(succeed("similar", trained, known[3], "--k", 1000))) == len(known) - 1


def test_several_items_with_titles(tmp_path: Path) -> None:
    path = write_run(tmp_path, ["Sigur Rós", "Björk", "múm"], ["a title", None, "[another]"])
    printed = succeed("similar", path, "Sigur Rós", "Björk")
    assert printed.count("like ") == 2
    found = {(row[1], row[3]) for row in rows(printed)}
    assert found == {("Björk", ""), ("múm", "[another]"), ("Sigur Rós", "a title")}


def test_what_is_refused(trained: Path, tmp_path: Path) -> None:
    assert refused("similar", trained, "shoe") == "ids: expected items of the data set, got 'shoe'"
    known = pq.read_table(trained / "items.parquet")["raw_id"][0].as_py()
    assert refused("similar", trained, known, f"0{known}") == f"ids: expected items of the data set, got '0{known}'"
    assert refused("similar", trained, known, "-k", 0) == "k: expected 1 or more, got 0"
    assert run("similar", trained).returncode == 2
    assert refused("similar", tmp_path, 1) == f"{tmp_path}: expected a run folder with a config.json in it"
