"""New logs for a data set: what is new, goes on, or is there already, and which rows items get."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tagnn_fast.data import Dataset, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions
from tagnn_fast.logs.update import recorded
from tests.logs.running import USER_LOG, prepared, raw, updated

FORM = LogFormat("ids", owner="session", item="item", time="time")
OPTIONS = PrepareOptions(minimum_support=2, test="12h")

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


@pytest.fixture
def first(tmp_path: Path) -> Dataset:
    return prepared(write_log(tmp_path / "first.csv", FIRST), FORM, OPTIONS)


def assert_same_sessions(dataset: Dataset, other: Dataset) -> None:
    for split in ("train", "test"):
        assert raw(getattr(dataset, split), dataset) == raw(getattr(other, split), other)
    assert dataset.raw_test.to_pylist() == other.raw_test.to_pylist()


def test_update(first: Dataset, tmp_path: Path) -> None:
    assert (raw(first.train, first), raw(first.test, first)) == (
        [["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"]],
        [["a", "b"]],
    )
    write_dataset(first, tmp_path / "data")
    second = updated(read_dataset(tmp_path / "data"), write_log(tmp_path / "second.csv", SECOND), FORM)
    # Of all training sessions, x has four clicks, d two, y and z one.
    assert second.vocabulary.raw_ids.to_pylist() == ["a", "b", "c", "x", "d"]
    assert raw(second.train, second)[3:] == [["x", "b"], ["x", "a", "b"], ["x", "c", "d"], ["d", "x"]]
    assert second.vocabulary.counts.tolist() == [4, 5, 4, 4, 2]
    assert raw(second.test, second) == [["d", "a", "b"]]
    assert second.raw_test.to_pylist() == [["q", "x"], ["y", "d", "a", "b"]]
    assert_same_sessions(second, prepared(write_log(tmp_path / "whole.csv", FIRST + SECOND), FORM, OPTIONS))
    update = second.source["updates"][0]
    assert [file["name"] for file in update["files"]] == ["second.csv"]
    assert (update["clicks"], update["sessions"]) == (
        {"new": 12, "repeated": 0},
        {"new": 4, "continued": 0, "repeated": 0},
    )
    assert second.source["files"] == first.source["files"]

    write_dataset(second, tmp_path / "data", replace=True)
    third = updated(read_dataset(tmp_path / "data"), write_log(tmp_path / "third.csv", [("j", 6, "ya")]), FORM)
    # y has two clicks now, of one session of each test set before.
    assert third.vocabulary.raw_ids.to_pylist() == ["a", "b", "c", "x", "d", "y"]
    assert raw(third.train, third)[-1] == ["y", "d", "a", "b"]
    assert len(third.source["updates"]) == 2


def test_day_that_is_sent_again_and_goes_on(first: Dataset, tmp_path: Path) -> None:
    """Session e goes on; d is there already; f is new. Nothing of them is in training and test."""
    log = write_log(tmp_path / "again.csv", [("d", 3, "xaby"), ("e", 3, "xbca"), ("f", 3, "ab")])
    after = updated(first, log, FORM)
    update = after.source["updates"][0]
    assert update["clicks"] == {"new": 4, "repeated": 6}
    assert update["sessions"] == {"new": 1, "continued": 1, "repeated": 1}
    assert raw(after.train, after) == raw(first.train, first)
    assert after.raw_test.to_pylist() == [["a", "b"], ["x", "a", "b", "y"], ["x", "b", "c", "a"]]


def test_session_that_goes_on_the_next_day(first: Dataset, tmp_path: Path) -> None:
    """It is one session, of the day on which it ends."""
    after = updated(first, write_log(tmp_path / "second.csv", [("e", 4, "ca"), ("f", 4, "ab")]), FORM)
    assert after.raw_test.to_pylist() == [["x", "b", "c", "a"], ["a", "b"]]
    assert after.source["updates"][0]["sessions"] == {"new": 1, "continued": 1, "repeated": 0}


def test_older_log(first: Dataset, tmp_path: Path) -> None:
    """It stands before the others, and the test set stays; rows of items stay too."""
    older = [("o", 1, "cay"), ("p", 1, "yab")]
    log = tmp_path / "older.csv"
    write_log(log, older)
    log.write_text(log.read_text().replace("2024-03-01", "2024-02-01"))
    after = updated(first, str(log), FORM)
    assert raw(after.train, after) == [["c", "a", "y"], ["y", "a", "b"], *raw(first.train, first)]
    assert after.vocabulary.raw_ids.to_pylist() == ["a", "b", "c", "y"]
    assert after.raw_test.equals(first.raw_test)
    assert raw(after.test, after) == [["a", "b", "y"]]


def test_the_same_file_twice(first: Dataset, tmp_path: Path) -> None:
    """Nothing is new, so that nothing changes; clicks that a log has twice are two."""
    assert updated(first, str(tmp_path / "first.csv"), FORM) is first
    second = write_log(tmp_path / "second.csv", [*SECOND, ("i", 5, "qx")])
    after = updated(first, second, FORM)
    assert after.raw_test.to_pylist()[0] == ["q", "q", "x", "x"]
    assert updated(after, second, FORM) is after
    assert updated(after, write_log(tmp_path / "once.csv", SECOND), FORM) is after


def test_log_without_a_click_that_can_be_used(tmp_path: Path) -> None:
    """As where the kinds of events have got other names: not the same as a log of which all is there already."""
    log, more = tmp_path / "log.csv", tmp_path / "more.csv"
    log.write_text("user,item,time,event\n" + "".join(f"u,a,2024-03-0{day},view\n" for day in (1, 1, 2)))
    options = PrepareOptions(sessions="day", minimum_support=1, minimum_length=1, until_time="2024-03-03", test="12h")
    dataset = prepared(str(log), USER_LOG, options)
    more.write_text("user,item,time,event\nu,a,2024-03-02,page view\nu,a,2024-03-04,view\n")
    with pytest.raises(ValueError) as error:
        updated(dataset, str(more), USER_LOG)
    assert str(error.value) == (
        f"{more}: expected clicks, got none that can be used: 1 × another event, 1 × at --until or later"
    )
    more.write_text("user,item,time,event\n")
    with pytest.raises(ValueError, match="expected clicks, got none that can be used: no rows"):
        updated(dataset, str(more), USER_LOG)
    with pytest.raises(ValueError, match="max_bad_rows: expected 0 or more, got -1"):
        updated(dataset, str(log), USER_LOG, bad=-1)


def test_ids_that_do_not_fit(tmp_path: Path) -> None:
    """They are bad rows where the data set's are integers: 007 is not 7. Where they are strings, all are strings."""
    numbers = [("a", 1, "123"), ("b", 1, "213"), ("c", 3, "12")]
    dataset = prepared(write_log(tmp_path / "first.csv", numbers), FORM, OPTIONS)
    assert dataset.vocabulary.integers
    others = ["N/A", "007", "+7", "7.0", "9" * 30]
    rows = "".join(f"d,{item},2024-03-05\n" for item in [*others, "1", "2"])
    log = tmp_path / "second.csv"
    log.write_text("session,item,time\n" + rows)
    with pytest.raises(ValueError, match=r"expected at most 4 bad rows \(--max-bad-rows\), got 5: 5 × item is no int"):
        updated(dataset, str(log), FORM, bad=4)
    after = updated(dataset, str(log), FORM, bad=5)
    assert after.source["updates"][0]["bad_rows"] == {"item is no integer": {"count": 5, "some": others}}
    assert raw(after.test, after) == [["1", "2"]]

    # Those that the first log had are not kept, and stay bad rows in an update.
    junk = tmp_path / "junk.csv"
    junk.write_text((tmp_path / "first.csv").read_text() + "c,N/A,2024-03-03 13:00:00\n")
    assert updated(prepared(str(junk), FORM, OPTIONS), str(log), FORM, bad=5).fingerprint() == after.fingerprint()

    dataset = prepared(write_log(tmp_path / "first.csv", FIRST), FORM, OPTIONS)
    after = updated(dataset, write_log(tmp_path / "second.csv", [("f", 4, "71"), ("g", 5, "71"), ("h", 7, "ab")]), FORM)
    assert after.vocabulary.raw_ids.to_pylist()[-2:] == ["7", "1"]


def test_folder_with_a_name_like_a_column(first: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "item=99" / "[o]wner=*" / "data"
    write_dataset(first, folder)
    second = write_log(tmp_path / "second.csv", SECOND)
    after = updated(read_dataset(folder), second, FORM)
    assert_same_sessions(after, updated(first, second, FORM))


def test_titles_go_on(first: Dataset, tmp_path: Path) -> None:
    """Those of items that get their row by the update too; new ones replace old ones."""
    titled = first.with_titles({"a": "Apple", "b": "Bread", "x": "Xylophone"})
    write_dataset(titled, tmp_path / "data")
    after = updated(read_dataset(tmp_path / "data"), write_log(tmp_path / "second.csv", SECOND), FORM)
    assert after.vocabulary.titles.to_pylist() == ["Apple", "Bread", None, "Xylophone", None]
    after = after.with_titles({"b": "Butter", "d": "Dates"})
    assert after.vocabulary.titles.to_pylist() == ["Apple", "Butter", None, "Xylophone", "Dates"]


def test_a_first_date_of_the_test_set_was_for_the_first_logs(tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, test_from="2024-03-02")
    dataset = prepared(write_log(tmp_path / "first.csv", FIRST), FORM, options)
    assert len(dataset.raw_test) == 3
    after = updated(dataset, write_log(tmp_path / "second.csv", SECOND), FORM)
    assert after.raw_test.to_pylist() == [["q", "x"], ["y", "d", "a", "b"]]
    assert recorded(after) == (FORM, OPTIONS)


def test_data_sets_that_are_refused(first: Dataset, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", SECOND)
    with pytest.raises(ValueError, match="expected a data set made of logs, got one of 'synthetic'"):
        updated(synthetic_dataset(100, 10), log, FORM)
    with pytest.raises(ValueError, match="an earlier version .*: prepare it again from all logs"):
        updated(dataclasses.replace(first, clicks=None), log, FORM)
    with pytest.raises(ValueError, match="expected the log's format and the options in its record"):
        updated(dataclasses.replace(first, source={**first.source, "options": {"sessions": 7}}), log, FORM)
    write_dataset(first, tmp_path / "data")
    clicks = tmp_path / "data" / "clicks.parquet"
    content = clicks.read_bytes()
    clicks.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(
        ValueError, match=r"clicks.parquet: expected the clicks that the data set was made of, got a dam"
    ):
        updated(read_dataset(tmp_path / "data"), log, FORM)
    clicks.unlink()
    with pytest.raises(ValueError, match="without its clicks.parquet"):
        updated(read_dataset(tmp_path / "data"), log, FORM)


def test_format_and_options_are_recorded(tmp_path: Path) -> None:
    """As a data set's folder has them: all of what it was made with."""
    log = tmp_path / "log.csv"
    log.write_text("user,item,time,event\nu,1,2024-03-01,view\nu,1,2024-03-02,view\nu,1,2024-03-02,view\n")
    options = PrepareOptions(sessions="gap", gap="2d", minimum_support=1, test_from="2024-03-05", maximum_length=2)
    write_dataset(prepared(str(log), USER_LOG, options), tmp_path / "data")
    assert recorded(read_dataset(tmp_path / "data")) == (USER_LOG, options)
