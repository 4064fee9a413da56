"""A comparison that is killed half-way: the same command goes on, and comes to the same results."""

from __future__ import annotations

from pathlib import Path

from tagnn_fast.data import write_dataset
from tests.cli.commands import finish, looks_at_test_set, start, succeed, temporary_files, wait_until
from tests.experiments.comparisons import DATA, MODELS, results
from tests.experiments.test_compare import write_configs


def test_killed_twice(tmp_path: Path) -> None:
    """At the end of a training, and in the midst of another."""
    data = write_dataset(DATA, tmp_path / "data").folder
    common = ("--models", ",".join(MODELS), "--seeds", 1, *write_configs(tmp_path))
    succeed("compare", data, tmp_path / "whole", *common)
    killed = tmp_path / "killed"
    moments = (
        killed / "runs/vs_knn/seed-0/test_reads.jsonl",
        killed / "runs/sr_gnn/seed-0/history.json",
    )
    for moment in moments:
        process = start("compare", data, killed, *common)
        wait_until(moment.exists, process)
        process.kill()
        assert finish(process).returncode == -9
        assert not (killed / "results.json").exists()
    succeed("compare", data, killed, *common)
    assert results(killed) == results(tmp_path / "whole")
    runs = sorted(path for path in (killed / "runs").glob("*/*") if path.is_dir())
    assert len(runs) == 2
    for run in runs:  # a look may come twice where the process was killed after it: it then sees the same
        looks = looks_at_test_set(run)
        assert len({tuple(look["figures"].items()) for look in looks}) == 1
    assert temporary_files(killed) == []
