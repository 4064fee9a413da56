"""A new day's logs: what moves, what stays, and which rows items get."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from logs.running import USER_LOG, prepared, raw
from tagnn_fast.data import Dataset, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.logs import DuckDB, LogFormat, PrepareOptions, find_files, update_dataset

FORM = LogFormat("ids", owner="session", item="item", time="time")
OPTIONS = PrepareOptions(minimum_support=2, test="1d")

# Sessions (name, day, items): the 3rd is the test day; x and y are new there.
FIRST = [("a", 1, "abc"), ("b", 1, "bac"), ("c", 2, "cba"), ("d", 3, "xaby"), ("e", 3, "xb")]
SECOND = [("f", 4, "xcd"), ("g", 4, "dxz"), ("h", 5, "ydab"), ("i", 5, "qx")]


def write_log(path: Path, sessions: list[tuple[str, int, str]]) -> str:
    rows = [
        f"{name},{item},2024-03-{day:02} 12:00:{second:02}"
        for name, day, items in sessions
        for second, item in enumerate(items)
    ]
    path.write_text("\n".join(["session,item,time", *rows, ""]))
    return str(path)


def updated(dataset: Dataset, log: str) -> Dataset:
    with TemporaryDirectory() as folder, DuckDB(Path(folder), "UTC") as engine:
        return update_dataset(engine, find_files([log], FORM), dataset)


@pytest.fixture
def first(tmp_path: Path) -> Dataset:
    options = dataclasses.replace(OPTIONS, test="12h")
    return prepared(write_log(tmp_path / "first.csv", FIRST), FORM, options)


def test_update(first: Dataset, tmp_path: Path) -> None:
    assert (raw(first.train, first), raw(first.test, first)) == (
        [["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"]],
        [["a", "b"]],
    )
    write_dataset(first, tmp_path / "data")
    second = updated(read_dataset(tmp_path / "data"), write_log(tmp_path / "second.csv", SECOND))
    # x has two clicks in the old test set, d two in the new training sessions; y has one and z one.
    assert second.vocabulary.raw_ids.to_pylist() == ["a", "b", "c", "x", "d"]
    assert raw(second.train, second)[3:] == [["x", "b"], ["x", "a", "b"], ["x", "c", "d"], ["d", "x"]]
    assert second.vocabulary.counts.tolist() == [4, 5, 4, 4, 2]
    assert raw(second.test, second) == [["d", "a", "b"]]
    assert second.raw_test.to_pylist() == [["q", "x"], ["y", "d", "a", "b"]]
    for before, after in zip(
        (first.train.clicks, first.train.offsets), (second.train.clicks, second.train.offsets), strict=True
    ):
        assert after[: len(before)].equal(before)
    update = second.source["updates"][0]
    assert [file["name"] for file in update["files"]] == ["second.csv"]
    assert second.source["files"] == first.source["files"]

    write_dataset(second, tmp_path / "data", replace=True)
    third = updated(read_dataset(tmp_path / "data"), write_log(tmp_path / "third.csv", [("j", 6, "ya")]))
    # One click on y alone was in the sessions that moved; the new one is in the test set.
    assert third.vocabulary.raw_ids.to_pylist() == ["a", "b", "c", "x", "d"]
    assert raw(third.train, third)[-1] == ["d", "a", "b"]
    assert len(third.source["updates"]) == 2


def test_ids_that_do_not_fit(tmp_path: Path) -> None:
    numbers = [("a", 1, "123"), ("b", 1, "213"), ("c", 3, "12")]
    dataset = prepared(write_log(tmp_path / "first.csv", numbers), FORM, OPTIONS)
    assert dataset.vocabulary.integers
    with pytest.raises(ValueError, match="second.csv: expected at most 0 bad rows .* × item is no integer"):
        updated(dataset, write_log(tmp_path / "second.csv", SECOND))


@pytest.mark.parametrize("item", ["007", "+7", "7.0", "9" * 30])
def test_ids_that_are_written_otherwise(item: str, tmp_path: Path) -> None:
    """007 is not 7."""
    numbers = [("a", 1, "123"), ("b", 1, "213"), ("c", 3, "12")]
    dataset = prepared(write_log(tmp_path / "first.csv", numbers), FORM, OPTIONS)
    (tmp_path / "second.csv").write_text(f"session,item,time\nd,{item},2024-03-05\nd,1,2024-03-05\n")
    with pytest.raises(ValueError, match=f"1 × item is no integer; such as {re.escape(repr(item))}"):
        updated(dataset, str(tmp_path / "second.csv"))


def test_the_same_file_twice(first: Dataset, tmp_path: Path) -> None:
    second = write_log(tmp_path / "second.csv", SECOND)
    with pytest.raises(ValueError, match="first.csv: expected new clicks, got a file that is in the data set already"):
        updated(first, str(tmp_path / "first.csv"))
    after = updated(first, second)
    with pytest.raises(ValueError, match="second.csv: expected new clicks"):
        updated(after, second)


def test_other_data_sets(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", SECOND)
    with pytest.raises(ValueError, match="expected a data set made of logs, got one of 'synthetic'"):
        updated(synthetic_dataset(100, 10), log)


def test_format_and_options_are_recorded(tmp_path: Path) -> None:
    """As a data set's folder has them: all of what it was made with."""
    from tagnn_fast.logs.update import recorded

    log = tmp_path / "log.csv"
    log.write_text("user,item,time,event\nu,1,2024-03-01,view\nu,1,2024-03-02,view\nu,1,2024-03-02,view\n")
    options = PrepareOptions(sessions="gap", gap="2d", minimum_support=1, test_from="2024-03-05", maximum_length=2)
    write_dataset(prepared(str(log), USER_LOG, options), tmp_path / "data")
    assert recorded(read_dataset(tmp_path / "data")) == (USER_LOG, options)
