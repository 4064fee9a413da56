"""Times of sessions: they go wherever the sessions go, and data sets without them are what they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tagnn_fast.data import Dataset, PrefixExamples, Sessions, read_dataset, write_dataset
from tagnn_fast.data.other_rows import by_rows_of
from tests.data.test_other_rows import BEFORE, GROWN
from tests.data.three_items import make
from tests.support import forget_digests

TIMES = [-5, 10**9, 2 * 10**9]


def timed() -> Dataset:
    dataset = make()
    parts = (("train", TIMES), ("test", TIMES[1:]))
    return dataclasses.replace(
        dataset, **{name: dataclasses.replace(getattr(dataset, name), times=torch.tensor(own)) for name, own in parts}
    )


def test_times_go_with_sessions() -> None:
    sessions = Sessions.from_lists([[3, 9], [5], [7, 7, 7]], TIMES)
    assert sessions.times is not None
    assert (sessions.times.dtype, sessions.times.tolist()) == (torch.int64, TIMES)
    for same in (sessions.to("cpu"), sessions.slice(0, 3), PrefixExamples(sessions).to("cpu").sessions):
        assert same.times is not None
        assert same.times.tolist() == TIMES
    part = sessions.slice(1, 3).times
    assert part is not None
    assert part.tolist() == TIMES[1:]
    whole = Sessions.whole(sessions.clicks, sessions.offsets, sessions.times)
    assert whole.times is sessions.times
    assert Sessions.from_lists([[3, 9], [5]]).slice(0, 1).times is None


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (torch.tensor([1, 2]), ValueError, "times: expected one per session, 3, got 2"),
        (torch.tensor([1.0, 2, 3]), TypeError, "times: expected a vector of torch.int64, got torch.float32 (3,)"),
        (torch.tensor([[1], [2], [3]]), TypeError, "times: expected a vector of torch.int64, got torch.int64 (3, 1)"),
    ],
)
def test_times_that_do_not_fit(times: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as found:
        dataclasses.replace(make().train, times=times)
    assert str(found.value) == message


def test_times_on_disk(tmp_path: Path) -> None:
    """A column more; the fingerprint, by which runs know their data set, is of sessions and items alone."""
    write_dataset(timed(), tmp_path / "data")
    table = pq.read_table(tmp_path / "data" / "train.parquet")
    assert (table.column_names, table.schema.field("time").type) == (["items", "examples", "time"], pa.int64())
    again = read_dataset(tmp_path / "data")
    assert again.train.times is not None
    assert again.test.times is not None
    assert (again.train.times.tolist(), again.test.times.tolist()) == (TIMES, TIMES[1:])
    again.train.times[0] = 7  # a user's own copy
    write_dataset(make(), tmp_path / "without")
    assert read_dataset(tmp_path / "without").train.times is None
    assert again.fingerprint() == timed().fingerprint() == make().fingerprint()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (pa.array([1, None, 3], pa.int64()), "expected no nulls in 'time', got 1"),
        (pa.array([1, 2, 3], pa.int32()), "expected a column 'time' of int64, got int32"),
    ],
)
def test_damaged_times(times: pa.Array, message: str, tmp_path: Path) -> None:
    write_dataset(make(), tmp_path / "data")
    forget_digests(tmp_path / "data" / "dataset.json")
    path = tmp_path / "data" / "train.parquet"
    pq.write_table(pq.read_table(path).append_column("time", times), path)
    with pytest.raises(ValueError, match=message):
        read_dataset(tmp_path / "data")


def test_rows_of_a_model_from_before() -> None:
    """Training sessions that lose all their clicks take their times with them."""
    timed = dataclasses.replace(
        GROWN,
        train=dataclasses.replace(GROWN.train, times=torch.tensor([1, 2, 3, 4])),
        test=dataclasses.replace(GROWN.test, times=torch.tensor([5, 6, 7])),
    )
    seen = by_rows_of(BEFORE, timed)
    assert seen.train.times is not None
    assert seen.test.times is not None
    assert (seen.train.times.tolist(), seen.test.times.tolist()) == ([1, 3, 4], [5, 6, 7])
