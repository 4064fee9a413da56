"""Lists with offsets of 32 and of 64 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import arrow
from tagnn_fast.data.dataset import read_dataset, write_dataset
from tagnn_fast.data.synthetic import synthetic_dataset


def test_offsets_beyond_32_bits_are_not_cut() -> None:
    """3 * 10^9 clicks, which are nulls without memory; their offsets would be negative in 32 bits."""
    offsets = np.array([0, 2**31 - 1, 2**31 + 5, 3_000_000_000])
    made = arrow.lists(offsets, pa.nulls(3_000_000_000))
    assert made.type == pa.large_list(pa.null())
    assert made.offsets.to_pylist() == offsets.tolist()
    assert pc.list_value_length(made).to_pylist() == np.diff(offsets).tolist()


def test_offsets_of_32_bits_where_they_are_enough() -> None:
    assert arrow.lists(np.array([0, 2**31 - 1]), pa.nulls(2**31 - 1)).type == pa.list_(pa.null())
    assert arrow.lists(np.array([0], np.int64), pa.array([], pa.int32())).to_pylist() == []


def test_data_set_of_wide_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written with 64-bit offsets reads as the same data set."""
    narrow = synthetic_dataset(clicks=200, items=10, seed=1)
    write_dataset(narrow, tmp_path / "narrow")
    monkeypatch.setattr(arrow, "_MOST_IN_32_BITS", 20)
    write_dataset(narrow, tmp_path / "wide")
    schema = pq.read_schema(tmp_path / "wide" / "train.parquet")
    assert schema.field("items").type == pa.large_list(pa.int32())
    one, other = (read_dataset(tmp_path / name) for name in ("narrow", "wide"))
    for split in ("train", "test"):
        for name in ("clicks", "offsets", "examples"):
            assert getattr(getattr(one, split), name).equal(getattr(getattr(other, split), name))
