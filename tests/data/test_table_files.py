"""Tables out: CSV, JSON lines and Parquet, whole or not there."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data.table_files import TableWriter

TABLE = pa.table({"session": ["a", "b"], "rank": pa.array([1, 2], pa.int32()), "score": [0.5, -1.0]})
SUFFIXES = ["csv", "jsonl", "parquet"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_table(path: Path) -> pa.Table:
    if path.suffix == ".jsonl":
        return pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()], TABLE.schema)
    return pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_out(tmp_path: Path, suffix: str) -> None:
    """Parts are appended under one header, and the file is there once all of them are."""
    path = tmp_path / f"answer.{suffix}"
    path.write_text("the file before")
    with TableWriter(path) as writer:
        writer.write(TABLE)
        writer.write(TABLE.slice(0, 0))
        writer.write(TABLE.slice(1))
        assert path.read_text() == "the file before"
    read = read_table(path)
    assert read.to_pylist() == [*TABLE.to_pylist(), TABLE.to_pylist()[1]]
    assert suffix == "csv" or read.schema == TABLE.schema
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answer.{suffix}"
    with TableWriter(path) as writer:
        writer.write(TABLE.slice(0, 0))
    read = read_table(path)
    assert (read.num_rows, read.column_names) == (0, TABLE.column_names)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("tables", [0, 1, 3])
def test_failing_block(tmp_path: Path, suffix: str, tables: int) -> None:
    """No file, no temporary one, and an older answer stays."""
    path = tmp_path / f"answer.{suffix}"

    def fail() -> None:
        with TableWriter(path) as writer:
            for _ in range(tables):
                writer.write(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names_in(tmp_path) == []
    path.write_text("the file before")
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names_in(tmp_path) == [path.name]
    assert path.read_text() == "the file before"


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    def write() -> None:
        with TableWriter(tmp_path / "answer.parquet") as writer:
            writer.write(TABLE)
            writer.write(TABLE.select(["session"]))

    with pytest.raises(ValueError):
        write()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"score": np.random.default_rng(0).random(5_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), TableWriter(tmp_path / f"answer.{suffix}") as writer:
            writer.write(table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folder_that_is_not_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError), TableWriter(tmp_path / "none" / f"answer.{suffix}") as writer:
        writer.write(TABLE)


@pytest.mark.parametrize("name", ["answer.txt", "answer", "answer.csv.gz"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError) as error:
        TableWriter(tmp_path / name)
    assert str(error.value) == f"{tmp_path / name}: expected a name that ends in .csv, .jsonl or .parquet"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_odd_bytes_in_the_path(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"\udcff.{suffix}"
    with TableWriter(path) as writer:
        writer.write(TABLE)
    assert read_table(path.rename(tmp_path / f"plain.{suffix}")).num_rows == 2


def test_json_lines(tmp_path: Path) -> None:
    """Null where there is nothing, and letters as they are."""
    table = pa.table({"session": ["ä\n", None], "score": [0.1, None]})
    with TableWriter(tmp_path / "answer.jsonl") as writer:
        writer.write(table)
    lines = (tmp_path / "answer.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == ['{"session": "ä\\n", "score": 0.1}', '{"session": null, "score": null}']
