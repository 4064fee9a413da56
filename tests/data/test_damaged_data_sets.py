"""Changed files of data sets: read as what they say, the rest as it was, or refused in a line."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import Dataset, read_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions
from tests.logs.running import prepared
from tests.mutated import assert_other_counts_are_noticed, try_changes
from tests.support import forget_digests

DATA = ["dataset.json", "train.parquet", "test.parquet", "raw_test.parquet"]
DATA += ["items.parquet", "titles.parquet", "clicks.parquet"]
TITLES = {"1": "One", "2": "Zwei, ü", "3": "Three", "77": "without a row"}


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


cached_dataset = cache(read_dataset)


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


def test_data_sets(data: Path, tmp_path: Path) -> None:
    try_changes(DATA, data, tmp_path / "data", read_data)


def test_whole_file_of_other_content(data: Path, tmp_path: Path) -> None:
    assert_other_counts_are_noticed(data, tmp_path / "data", "dataset.json", read_dataset)


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
