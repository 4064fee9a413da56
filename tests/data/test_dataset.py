"""Data sets on disk: what is written is read, as documented, whole or not at all."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tagnn_fast.data import (
    Dataset,
    Sessions,
    Vocabulary,
    read_dataset,
    read_exchange,
    stored_tables,
    synthetic_dataset,
    write_dataset,
)
from tagnn_fast.data.stored_tables import read_items, write_items
from tests.data.three_items import FILES, make
from tests.support import forget_digests, shared


def assert_equal(actual: Dataset, expected: Dataset) -> None:
    assert actual.name == expected.name
    assert actual.source == expected.source
    assert actual.statistics() == expected.statistics()
    assert actual.vocabulary.equals(expected.vocabulary)
    assert np.array_equal(actual.vocabulary.counts, expected.vocabulary.counts)
    for split in ("train", "test"):
        for name in ("clicks", "offsets", "examples"):
            value, other = getattr(getattr(actual, split), name), getattr(getattr(expected, split), name)
            assert torch.equal(value, other), (split, name)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("raw_ids", [[70, 5, 2**62], ["a", "", "ä b"]], ids=["integers", "strings"])
def test_round_trip(tmp_path: Path, raw_ids: list[int] | list[str]) -> None:
    dataset = make(raw_ids)
    write_dataset(dataset, tmp_path / "data")
    again = read_dataset(str(tmp_path / "data"))
    assert_equal(again, dataset)
    again.train.clicks[0] = 3  # a user's own copy: neither read-only nor shared with the file
    assert_equal(read_dataset(tmp_path / "data"), dataset)


def test_round_trip_of_synthetic_data(tmp_path: Path) -> None:
    dataset = synthetic_dataset(5_000, 100)
    write_dataset(dataset, tmp_path / "new" / "folder" / "data")
    assert_equal(read_dataset(tmp_path / "new" / "folder" / "data"), dataset)


def test_round_trip_of_nothing(tmp_path: Path) -> None:
    none = Sessions.from_lists([])
    dataset = Dataset("nothing", none, none, Vocabulary(pa.array([], pa.int64()), np.array([])))
    write_dataset(dataset, tmp_path / "data")
    assert_equal(read_dataset(tmp_path / "data"), dataset)


def test_round_trip_of_a_slice(tmp_path: Path) -> None:
    """Sessions that are a window of longer ones are written as such."""
    whole = synthetic_dataset(1_000, 50)
    dataset = Dataset("slice", whole.train.slice(7, 40), whole.test.slice(2, 3), whole.vocabulary)
    write_dataset(dataset, tmp_path / "data")
    assert pq.read_table(tmp_path / "data" / "train.parquet").num_rows == 33
    assert_equal(read_dataset(tmp_path / "data"), dataset)


def test_round_trip_of_real_data(tmp_path: Path) -> None:
    name = "yoochoose1_64"
    dataset = read_exchange(shared(f"data/{name}"))
    write_dataset(dataset, tmp_path / name)
    assert_equal(read_dataset(tmp_path / name), dataset)


def test_layout(tmp_path: Path) -> None:
    """Columns and types as documented, readable by anything that reads Parquet and JSON."""
    dataset = make()
    write_dataset(dataset, tmp_path / "data")
    assert [file.name for file in sorted(tmp_path.rglob("*"))] == ["data", *FILES]
    train, test, items = (pq.read_table(tmp_path / "data" / f"{name}.parquet") for name in ("train", "test", "items"))
    for table in (train, test):
        assert table.column_names == ["items", "examples"]
        assert table.schema.types == [pa.list_(pa.int32()), pa.int64()]
    assert train.to_pydict() == {"items": [[1, 2, 1], [3], [2, 3]], "examples": [1, 0, 1]}
    assert test.to_pydict() == {"items": [[2, 0, 3], [1, 0]], "examples": [2, 1]}
    assert items.column_names == ["raw_id", "index", "count"]
    assert items.schema.types == [pa.int64(), pa.int32(), pa.int64()]
    assert items.to_pydict() == {"raw_id": [70, 5, 2**62], "index": [1, 2, 3], "count": [2, 2, 2]}
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "data").glob("*.parquet")}
    assert json.loads((tmp_path / "data" / "dataset.json").read_text(encoding="utf-8")) == {
        "format": "tagnn_fast.dataset",
        "version": 1,
        "name": "three items",
        "source": {"kind": "by hand", "files": ["ä", 1, None]},
        "statistics": dataset.statistics(),
        "files": digests,
    }


def test_statistics() -> None:
    assert make().statistics() == {
        "items": {"count": 3},
        "train": {
            "sessions": 3,
            "clicks": 6,
            "examples": 2,
            "mean_clicks": 2.0,
            "longest_session": 3,
            "longest_prefix": 2,
            "targets_without_a_row": 0,
            "clicks_without_a_row": 0,
        },
        "test": {
            "sessions": 2,
            "clicks": 5,
            "examples": 3,
            "mean_clicks": 2.5,
            "longest_session": 3,
            "longest_prefix": 2,
            "targets_without_a_row": 2,
            "clicks_without_a_row": 2,
        },
    }


@pytest.mark.parametrize("rows", [1, 2])
def test_row_groups(tmp_path: Path, rows: int) -> None:
    """Files that another program wrote in small pieces."""
    dataset = make()
    write_dataset(dataset, tmp_path / "data")
    forget_digests(tmp_path / "data" / "dataset.json")
    for file in FILES[1:]:
        path = tmp_path / "data" / file
        pq.write_table(pq.read_table(path), path, row_group_size=rows, compression="snappy")
    assert_equal(read_dataset(tmp_path / "data"), dataset)


def test_windows_and_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow may hand over windows of longer lists, in several chunks or in none."""
    write_dataset(make(), tmp_path / "data")
    forget_digests(tmp_path / "data" / "dataset.json")
    whole = pa.table({"items": pa.array([[9], [1, 2], [3], [2, 1, 1], [9, 9]], pa.list_(pa.int32()))})
    whole = whole.append_column("examples", pa.array([0, 1, 0, 1, 1]))
    read = stored_tables.read_table
    for table, expected in (
        (whole.slice(1, 3), [[1, 2], [3], [2, 1, 1]]),
        (pa.concat_tables([whole.slice(3, 1), whole.slice(1, 2)]), [[2, 1, 1], [1, 2], [3]]),
        (whole.slice(2, 0), []),
        (whole.schema.empty_table(), []),
        (pa.Table.from_batches([], whole.schema), []),
    ):
        monkeypatch.setattr(
            stored_tables,
            "read_table",
            lambda path, *rest, table=table: table if path.stem == "train" else read(path, *rest),
        )
        train = read_dataset(tmp_path / "data").train
        assert [part.tolist() for part in train.clicks.split(train.offsets.diff().tolist())] == expected
        assert train.examples.tolist() == table["examples"].to_pylist()


def test_existing_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "folder", tmp_path / "file"):
        path.mkdir() if path.name == "folder" else path.write_text("mine")
        with pytest.raises(FileExistsError) as error:
            write_dataset(make(), path)
        assert str(error.value) == f"{path}: expected a folder that does not exist yet"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("size", [0, 100, 4_000])
def test_full_disk(tmp_path: Path, size: int) -> None:
    """Neither the folder nor a temporary one is left."""
    dataset = synthetic_dataset(5_000, 1_000)
    with largest_file(size), pytest.raises(OSError, match="File too large"):
        write_dataset(dataset, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    write_dataset(dataset, tmp_path / "data")


def test_source_that_is_no_json(tmp_path: Path) -> None:
    """The last file to be written fails, and takes the others with it."""
    dataset = make()
    with pytest.raises(TypeError):
        write_dataset(
            Dataset("x", dataset.train, dataset.test, dataset.vocabulary, {"made": object()}), tmp_path / "data"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("split", "sessions", "message"),
    [
        ("train", [[1, 0]], "train: expected item indices in 1..3, got 0"),
        ("train", [[1, 4]], "train: expected item indices in 1..3, got 4"),
        ("test", [[1], [0, 7]], "test: expected item indices in 0..3, got 7"),
    ],
)
def test_items_without_a_row(split: str, sessions: list[list[int]], message: str) -> None:
    parts = {"train": make().train, "test": make().test, split: Sessions.from_lists(sessions)}
    with pytest.raises(ValueError) as error:
        Dataset(name="x", vocabulary=make().vocabulary, **parts)
    assert str(error.value) == message


def test_optional_information(tmp_path: Path) -> None:
    """A dataset.json of another hand may say nothing but its format."""
    folder = tmp_path / "data"
    write_dataset(make(), folder)
    (folder / "dataset.json").write_text('{"format": "tagnn_fast.dataset", "version": 1}')
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.source) == ("data", {})


def test_items(tmp_path: Path) -> None:
    for vocabulary in (make().vocabulary, make(["x", "y", "z"]).vocabulary):
        write_items(vocabulary, tmp_path / "items.parquet")
        again = read_items(tmp_path / "items.parquet")
        assert again.equals(vocabulary)
        assert again.counts.tolist() == [2, 2, 2]
    with pytest.raises(FileNotFoundError):
        read_items(tmp_path / "none.parquet")
