"""Changed files of runs: read as what they say, the rest as it was, or refused in a line."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tagnn_fast.runs.run import Run, open_run
from tests.mutated import assert_other_counts_are_noticed, try_changes
from tests.runs.small_runs import write_run

RUN = ["config.json", "test_reads.jsonl", "items.parquet"]
SESSIONS = [[7, 12], [70, 99], []]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test set was looked at."""
    run = open_run(write_run(tmp_path_factory.mktemp("damaged"), [7, 70, 2**40, 0, 12], ["a", None, "c", "d", "ü"]))
    for number in range(3):
        run.log_test_read("evaluate", "small", {"HR@20": 50.0 + number})
    return run.folder


cached_run = cache(open_run)


@cache
def cached_answer(folder: Path) -> pa.Table:
    return cached_run(folder).recommender().recommend(SESSIONS, 5).to_table()


def read_run(folder: Path, original: Path) -> None:
    """A run of which a file was changed."""
    whole, found = cached_run(original), open_run(folder)
    content = json.loads((folder / "config.json").read_bytes())
    for part, values in (("model", asdict(found.model)), ("training", asdict(found.training))):
        assert content[part].items() <= values.items()
    assert found.dataset == content["dataset"]
    looks = found.test_reads()
    log = (folder / "test_reads.jsonl").read_bytes()
    assert looks == [json.loads(line) for line in log.splitlines()[: len(looks)]]
    assert len(looks) >= len(log[: log.rfind(b"\n") + 1].splitlines())  # a last one may be cut off
    assert _items(found) == _items(whole)
    if found.model == whole.model and found.training == whole.training:
        assert found.recommender().recommend(SESSIONS, 5).to_table().equals(cached_answer(original))
    else:
        found.recommender()


def _items(run: Run) -> tuple[Any, ...]:
    vocabulary = run.vocabulary
    titles = None if vocabulary.titles is None else vocabulary.titles.to_pylist()
    return vocabulary.raw_ids.to_pylist(), vocabulary.counts.tolist(), titles


def test_runs(finished: Path, tmp_path: Path) -> None:
    try_changes(RUN, finished, tmp_path / "run", read_run)


def test_whole_file_of_other_content(finished: Path, tmp_path: Path) -> None:
    assert_other_counts_are_noticed(finished, tmp_path / "run", "config.json", open_run)
