"""Data sets on disk that are missing in part, damaged or another's: the error names the file and what is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tagnn_fast.data import read_dataset, synthetic_dataset, write_dataset
from tests.data.three_items import FILES, make
from tests.mutated import refusals, wrong_bytes
from tests.support import forget_digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set whose files may be changed."""
    write_dataset(make(), tmp_path / "data")
    forget_digests(tmp_path / "data" / "dataset.json")
    return tmp_path / "data"


@pytest.mark.parametrize("file", [None, *FILES])
def test_missing_file(tmp_path: Path, file: str | None) -> None:
    folder = tmp_path / "data"
    if file is not None:
        write_dataset(make(), folder)
        (folder / file).unlink()
    with pytest.raises(FileNotFoundError) as error:
        read_dataset(folder)
    if file in (None, "dataset.json"):
        assert str(error.value) == f"{folder}: expected a data set folder with a dataset.json in it"
    else:
        assert str(error.value) == f"{folder / file}: expected this file of the data set"


def lists(*values: list[int | None] | None) -> pa.Array:
    return pa.array(values, pa.list_(pa.int32()))


@pytest.mark.parametrize(
    ("file", "table", "message"),
    [
        ("train", {"items": lists([1])}, "expected a column 'examples' of int64, got none"),
        ("test", {"examples": [0]}, "expected a column 'items' of list<item: int32>, got none"),
        (
            "train",
            {"items": [[1]], "examples": [0]},
            "expected a column 'items' of list<item: int32>, got list<element: int64>",
        ),
        (
            "train",
            {"items": lists([1]), "examples": [0.0]},
            "expected a column 'examples' of int64, got double",
        ),
        ("train", {"items": lists([1], None), "examples": [0, 0]}, "expected no nulls in 'items', got 1"),
        ("train", {"items": lists([1], [None, 2]), "examples": [0, 0]}, "expected no nulls in 'items', got 1"),
        (
            "test",
            {"items": lists([1, 2]), "examples": pa.array([None], pa.int64())},
            "expected no nulls in 'examples', got 1",
        ),
        ("items", {"raw_id": [1]}, "expected a column 'index' of int32, got none"),
        (
            "items",
            {"index": pa.array([1], pa.int32()), "count": [1]},
            "expected a column 'raw_id' of ids, got none",
        ),
        (
            "items",
            {"raw_id": [1.5], "index": pa.array([1], pa.int32()), "count": [1]},
            "raw_ids: expected int64 or string, got double",
        ),
        (
            "items",
            {"raw_id": [1, 1], "index": pa.array([1, 2], pa.int32()), "count": [1, 1]},
            "raw_ids: expected distinct ids, got one twice or a null",
        ),
        (
            "items",
            {"raw_id": [1, None], "index": pa.array([1, 2], pa.int32()), "count": [1, 1]},
            "expected no nulls in 'raw_id', got 1",
        ),
        (
            "items",
            {"raw_id": [1, 2], "index": pa.array([2, 1], pa.int32()), "count": [1, 1]},
            "expected index to count from 1",
        ),
    ],
)
def test_wrong_tables(folder: Path, file: str, table: dict[str, object], message: str) -> None:
    path = folder / f"{file}.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(ValueError) as error:
        read_dataset(folder)
    assert str(error.value) == f"{folder}: damaged data set: {path}: {message}"


@pytest.mark.parametrize(
    ("file", "table", "message"),
    [
        ("train", {"items": lists([4, 1]), "examples": [1]}, "train: expected item indices in 1..3, got 4"),
        ("train", {"items": lists([0, 1]), "examples": [1]}, "train: expected item indices in 1..3, got 0"),
        ("test", {"items": lists([4, 1]), "examples": [1]}, "test: expected item indices in 0..3, got 4"),
        ("test", {"items": lists([-1]), "examples": [0]}, "clicks: expected item indices of 0 and more, got -1"),
        (
            "train",
            {"items": lists([1], []), "examples": [0, 0]},
            "sessions: expected at least one click in each, got none in session 1",
        ),
        (
            "test",
            {"items": lists([1, 2]), "examples": [2]},
            "examples: expected one number per session, less than its clicks",
        ),
    ],
)
def test_values_that_do_not_fit(folder: Path, file: str, table: dict[str, object], message: str) -> None:
    pq.write_table(pa.table(table), folder / f"{file}.parquet")
    with pytest.raises(ValueError) as error:
        read_dataset(folder)
    assert str(error.value) == f"{folder}: damaged data set: {message}"


@pytest.mark.parametrize("file", ["train", "test", "items"])
def test_truncated_parquet(folder: Path, file: str) -> None:
    path = folder / f"{file}.parquet"
    content = path.read_bytes()
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError) as error:
            read_dataset(folder)
        assert str(error.value).startswith(f"{folder}: damaged data set: {path}: damaged Parquet file: ")


def test_damaged_pages(folder: Path) -> None:
    """Checksums notice every wrong byte of the values."""
    path = folder / "train.parquet"
    content = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(0)
    end = column.data_page_offset + column.total_compressed_size
    refused = 0
    for position in range(4, end, 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            read = read_dataset(folder)
        except ValueError:
            refused += 1
        else:
            assert torch.equal(read.train.clicks, make().train.clicks)
    assert refused > 5


def test_damaged_bytes(tmp_path: Path) -> None:
    """A few wrong bytes anywhere give other values or a ValueError, and nothing else."""
    folder = tmp_path / "data"
    write_dataset(synthetic_dataset(300, 30), folder)
    generator = random.Random(0)
    messages = []
    for file in FILES:
        content = (folder / file).read_bytes()
        contents = (wrong_bytes(content, generator) for _ in range(25))
        messages += refusals(folder / file, contents, lambda: read_dataset(folder))
        (folder / file).write_bytes(content)
    assert len(messages) > 25
    assert all(message.startswith(str(folder)) for message in messages)


@pytest.mark.parametrize("error", [pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, pa.ArrowKeyError])
def test_whatever_arrow_raises(folder: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged footer can ask for types and codecs that do not exist."""

    def read(*_: object, **__: object) -> pa.Table:
        raise error("broken")

    monkeypatch.setattr(pq, "ParquetFile", read)
    with pytest.raises(ValueError) as caught:
        read_dataset(folder)
    assert f"{folder}: damaged data set: {folder / 'train.parquet'}: damaged Parquet file: " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "tagnn_fast.dataset", "version": 2}', "expected version 1, got 2: "),
        ('{"format": "tagnn_fast.dataset"}', "expected a version, got None"),
        ('{"format": "tagnn_fast.run", "version": 1}', "expected format 'tagnn_fast.dataset', got 'tagnn_fast.run'"),
        ('{"format": "tagnn_fast.dataset", "ver', "expected JSON, got "),
        ("", "expected JSON, got "),
    ],
)
def test_dataset_json(tmp_path: Path, content: str, message: str) -> None:
    folder = tmp_path / "data"
    write_dataset(make(), folder)
    (folder / "dataset.json").write_text(content)
    with pytest.raises(ValueError) as error:
        read_dataset(folder)
    assert str(error.value).startswith(f"{folder / 'dataset.json'}: {message}")
