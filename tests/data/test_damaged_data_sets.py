"""Changed files of data sets and runs: read as what they say, the rest as it was, or refused in a line."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import Dataset, read_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions
from tagnn_fast.runs.run import Run, open_run
from tests.cli.mutated import mutate
from tests.cli.small_runs import write_run
from tests.logs.running import prepared
from tests.support import forget_digests

# Each test takes so long where it is set; the seed is the clock's then.
SECONDS = float(os.environ.get("TAGNN_FAST_FUZZ_SECONDS", 0))
CHANGES = 140
DATA = ["dataset.json", "train.parquet", "test.parquet", "raw_test.parquet"]
DATA += ["items.parquet", "titles.parquet", "clicks.parquet"]
RUN = ["config.json", "test_reads.jsonl", "items.parquet"]
TITLES = {"1": "One", "2": "Zwei, ü", "3": "Three", "77": "without a row"}
SESSIONS = [[7, 12], [70, 99], []]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with everything that one can have."""
    folder = tmp_path_factory.mktemp("damaged")
    rows = [f"{session},{item},{session * 3600 + item}" for session in range(60) for item in (1, 2, 3)]
    (folder / "log.csv").write_text("\n".join(["s,i,t", *rows, ""]))
    form = LogFormat("x", owner="s", item="i", time="t", time_unit="seconds")
    write_dataset(prepared(str(folder / "log.csv"), form, PrepareOptions()).with_titles(TITLES), folder / "data")
    assert {path.name for path in (folder / "data").iterdir()} == set(DATA)
    return folder / "data"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test set was looked at."""
    run = open_run(write_run(tmp_path_factory.mktemp("damaged"), [7, 70, 2**40, 0, 12], ["a", None, "c", "d", "ü"]))
    for number in range(3):
        run.log_test_read("evaluate", "small", {"HR@20": 50.0 + number})
    return run.folder


cached_dataset, cached_run = cache(read_dataset), cache(open_run)


@cache
def cached_answer(folder: Path) -> pa.Table:
    return cached_run(folder).recommender().recommend(SESSIONS, 5).to_table()


def content_of(dataset: Dataset) -> tuple[Any, ...]:
    """All that is read of the Parquet files but the clicks."""
    vocabulary, raw_test = dataset.vocabulary, dataset.raw_test
    titles = None if vocabulary.titles is None else vocabulary.titles.to_pylist()
    items = vocabulary.raw_ids.type, vocabulary.raw_ids.to_pylist(), vocabulary.counts.tolist(), titles
    return dataset.fingerprint(), items, None if raw_test is None else raw_test.to_pylist(), dict(dataset.titles)


def read_data(folder: Path, original: Path) -> None:
    """A data set of which a file was changed."""
    whole, found = cached_dataset(original), read_dataset(folder)
    content = json.loads((folder / "dataset.json").read_bytes())
    assert content_of(found) == content_of(whole)
    assert (found.name, found.source) == (content.get("name", folder.name), content.get("source", {}))
    assert (found.clicks is None) == (content.get("clicks") is None)
    if found.clicks is not None and whole.clicks is not None:
        path = found.clicks.checked(folder / "clicks.parquet")
        assert pq.read_table(path).equals(pq.read_table(original / "clicks.parquet"))


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


def try_changes(names: list[str], original: Path, copy: Path, read: Callable[[Path, Path], None]) -> None:
    """One file is changed at a time; all kinds of faults are told, the first of each."""
    generator, end, outcomes = (
        random.Random(time.time_ns() if SECONDS else 1),
        time.monotonic() + SECONDS,
        Counter[str](),
    )
    found: dict[str, str] = {}
    shutil.copytree(original, copy)
    while time.monotonic() < end if SECONDS else outcomes.total() < CHANGES:
        name = names[outcomes.total() % len(names)]
        mutate(copy / name, generator)
        outcome, damage = "read", None
        try:
            read(copy, original)
        except (ValueError, TypeError, FileNotFoundError) as error:
            outcome, message = "refused", str(error)
            if "\n" in message or len(message) > 1500 or str(copy) not in message:
                damage = f"message: {message}"
        except Exception as error:
            damage = f"{type(error).__name__}: {str(error)[:1000]}"
        if damage is not None:
            outcome = "FAULT"
            found.setdefault(f"{name} {damage[:60]}", f"{damage}: {(copy / name).read_bytes()!r}")
        outcomes[f"{name} {outcome}"] += 1
        shutil.copyfile(original / name, copy / name)
    print(f"{outcomes.total():,} changes: {dict(sorted(outcomes.items()))}")
    assert not found, "\n\n".join(found.values())


def test_data_sets(data: Path, tmp_path: Path) -> None:
    try_changes(DATA, data, tmp_path / "data", read_data)


def test_runs(finished: Path, tmp_path: Path) -> None:
    try_changes(RUN, finished, tmp_path / "run", read_run)


def test_whole_files_of_other_content(data: Path, finished: Path, tmp_path: Path) -> None:
    """A file without checksums of its own is known by its SHA-256; where earlier versions wrote none, it is read."""
    for original, record, read in ((data, "dataset.json", read_dataset), (finished, "config.json", open_run)):
        copy = Path(shutil.copytree(original, tmp_path / original.name))
        items = pq.read_table(copy / "items.parquet")
        others = items.set_column(2, "count", pa.array(range(items.num_rows), pa.int64()))
        pq.write_table(others, copy / "items.parquet")
        with pytest.raises(ValueError, match=r"items.parquet: damaged Parquet file: expected the SHA-256 that was rec"):
            read(copy)
        forget_digests(copy / record)
        assert read(copy).vocabulary.counts.tolist() == list(range(items.num_rows))


def test_missing_file(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    (copy / "raw_test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="raw_test.parquet: expected this file of the data set"):
        read_dataset(copy)


def test_lists_without_rows(data: Path, tmp_path: Path) -> None:
    """With one bit changed, a file of lists was read as if it had no rows."""
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    forget_digests(copy / "dataset.json")
    content = bytearray((data / "raw_test.parquet").read_bytes())
    content[5] ^= 2  # the type of the first page, which is passed over then
    (copy / "raw_test.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="raw_test.parquet: damaged Parquet file: expected 25 rows, got 0"):
        read_dataset(copy)
