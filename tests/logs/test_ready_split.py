"""Logs that other tools have written and split: exactly their sessions, in each tool's own layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tagnn_fast import prepare
from tagnn_fast.data import Dataset, Sessions, read_dataset
from tagnn_fast.logs.jobs import update
from tagnn_fast.observer import Observer
from tests.cli.commands import TINY, refused, succeed, words
from tests.logs.running import raw

# Sessions as (seconds, item): a training session of one click, one that ends with the last, ties in time.
TRAIN = {"1": [(100, "7"), (130, "8"), (130, "7")], "2": [(90, "9")], "3": [(200, "8"), (260, "9")]}
TEST = {"4": [(400, "8"), (500, "7"), (500, "5")], "5": [(450, "5"), (460, "5")]}
FIRST = 1_400_000_000
QUIET = Observer()
Log = dict[str, list[tuple[int, str]]]


def session_rec(path: Path, log: Log) -> Path:
    """What pandas writes of three columns, times in floating point."""
    rows = [f"{session}\t{item}\t{FIRST + time}.5" for session, clicks in log.items() for time, item in clicks]
    path.write_text("\n".join(["SessionId\tItemId\tTime", *rows, ""]))
    return path


def recbole(path: Path, log: Log) -> Path:
    """An atomic file, with a column more than is needed."""
    rows = [f"{session}\t{item}\t{FIRST + time}.0\t1" for session, clicks in log.items() for time, item in clicks]
    header = "session_id:token\titem_id:token\ttimestamp:float\tnumber of times:float"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def otto(path: Path, log: Log) -> Path:
    """A line per session, in milliseconds; what is bought is no click."""
    lines = []
    for session, clicks in log.items():
        events = [{"aid": int(item), "ts": (FIRST + time) * 1000 + 25, "type": "clicks"} for time, item in clicks]
        events.append({"aid": 1, "ts": (FIRST + 10**6) * 1000, "type": "orders"})
        lines.append(json.dumps({"session": int(session), "events": events}))
    path.write_text("\n".join([*lines, ""]))
    return path


def rectools(log: Log) -> pd.DataFrame:
    """Interactions as a frame: user, item, weight, datetime."""
    rows = [
        (int(user), int(item), 1.0, pd.Timestamp(FIRST + time, unit="s"))
        for user, clicks in log.items()
        for time, item in clicks
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "weight", "datetime"])


def rectools_csv(path: Path, log: Log) -> Path:
    rectools(log).to_csv(path, index=False)
    return path


def rectools_parquet(path: Path, log: Log) -> Path:
    rectools(log).to_parquet(path)
    return path


WRITERS = {
    "session-rec": session_rec,
    "recbole": recbole,
    "otto": otto,
    "rectools": rectools_csv,
    "rectools in Parquet": rectools_parquet,
}


def times_of(sessions: Sessions) -> list[int]:
    assert sessions.times is not None
    return [time - FIRST for time in sessions.times.tolist()]


def assert_is_their_split(data: Dataset) -> None:
    assert raw(data.train, data) == [["9"], ["7", "8", "7"], ["8", "9"]]
    assert raw(data.test, data) == [["", ""], ["8", "7", ""]]
    assert data.raw_test is not None
    assert data.raw_test.to_pylist() == [[5, 5], [8, 7, 5]]
    assert (times_of(data.train), times_of(data.test)) == ([90, 130, 260], [460, 500])
    assert data.source["warnings"] == []


@pytest.mark.parametrize("layout", WRITERS)
def test_exactly_their_sessions(layout: str, tmp_path: Path) -> None:
    """No session and no click is dropped; what was not trained on stays as a miss."""
    form = layout.split(" ")[0]
    write = WRITERS[layout]
    logs, tests = write(tmp_path / "train_full", TRAIN), write(tmp_path / "test", TEST)
    succeed("prepare", "logs", logs, tmp_path / "data", "--format", form, "--test-logs", tests)
    data = read_dataset(tmp_path / "data")
    assert_is_their_split(data)
    assert [file["name"] for file in data.source["test_files"]] == ["test"]
    assert [file["name"] for file in data.source["files"]] == ["train_full"]
    assert data.clicks is None
    dropped = {"another event": 3, "another event (test logs)": 2} if form == "otto" else {}
    assert {reason: found["count"] for reason, found in data.source["bad_rows"].items()} == dropped


def test_frames_and_parts(tmp_path: Path) -> None:
    """Frames in memory; and test sessions in several files and in a folder."""
    assert_is_their_split(prepare(rectools(TRAIN), test_logs=rectools(TEST), format="rectools", observer=QUIET))
    logs, folder = session_rec(tmp_path / "train_full.txt", TRAIN), tmp_path / "tests"
    folder.mkdir()
    parts = [session_rec(folder / f"{name}.txt", {name: TEST[name]}) for name in TEST]
    for tests in (parts, folder, str(folder / "*.txt")):
        assert_is_their_split(prepare(logs, test_logs=tests, format="session-rec", observer=QUIET))
    repeated = [word for part in parts for word in ("--test-logs", part)]
    succeed("prepare", "logs", logs, tmp_path / "data", "--format", "session-rec", *repeated)
    assert_is_their_split(read_dataset(tmp_path / "data"))


def test_options_that_are_asked_for(tmp_path: Path) -> None:
    logs, tests = session_rec(tmp_path / "train", TRAIN), session_rec(tmp_path / "test", TEST)

    def made(**options: Any) -> Dataset:
        return prepare(logs, test_logs=tests, format="session-rec", observer=QUIET, **options)

    dropped = made(cold_items="drop")
    assert raw(dropped.test, dropped) == [["8", "7"]]
    assert times_of(dropped.test) == [500]
    assert dropped.source["steps"][-1]["step"] == "test sessions without cold items"
    long = made(minimum_length=2)
    assert raw(long.train, long) == [["7", "8", "7"], ["8", "9"]]
    popular = made(minimum_support=2)
    assert raw(popular.train, popular) == [["9"], ["7", "8", "7"], ["8", "9"]]
    last = made(maximum_length=2)
    assert raw(last.train, last) == [["9"], ["8", "7"], ["8", "9"]]
    half = made(fraction=3)
    assert (raw(half.train, half), times_of(half.train)) == ([["8", "9"]], [260])
    assert not made(item_ids="string").vocabulary.integers


def test_ids_that_are_no_integers_in_the_test_log_alone(tmp_path: Path) -> None:
    """Then all ids are strings: nothing is dropped of a split that is ready."""
    logs = session_rec(tmp_path / "train", TRAIN)
    tests = session_rec(tmp_path / "test", {"4": [(400, "8"), (500, "new")]})
    data = prepare(logs, test_logs=tests, format="session-rec", observer=QUIET)
    assert (raw(data.test, data), data.vocabulary.integers) == ([["8", ""]], False)
    assert data.raw_test is not None
    assert data.raw_test.to_pylist() == [["8", "new"]]
    assert data.source["bad_rows"] == {}
    assert succeed("prepare", "logs", logs, tmp_path / "data", "--format", "session-rec", "--test-logs", tests)


def test_warnings(tmp_path: Path) -> None:
    """Ids that both logs have are of two sessions; and a test set that is no later period."""
    logs = session_rec(tmp_path / "train", TRAIN)
    tests = session_rec(tmp_path / "test", {"3": [(210, "8"), (220, "7")], "4": TEST["4"]})
    printed = words(
        succeed("prepare", "logs", logs, tmp_path / "data", "--format", "session-rec", "--test-logs", tests)
    )
    data = read_dataset(tmp_path / "data")
    assert raw(data.train, data) == [["9"], ["7", "8", "7"], ["8", "9"]]
    assert raw(data.test, data) == [["8", "7"], ["8", "7", ""]]
    assert data.source["warnings"] == [
        "1 of 2 test sessions have an id that a training session has too: they are sessions of their own",
        "1 of 2 test sessions end before the last training session does, at 2014-05-13 16:57:40: the test set is not "
        "a later period",
    ]
    assert all(f"warning: {warning}" in printed for warning in data.source["warnings"])


def test_users_whose_clicks_are_cut(tmp_path: Path) -> None:
    """Sessions of the same user on both sides are none that have the same id."""
    data = prepare(
        rectools({"1": [(0, "1"), (60, "2"), (9000, "1")]}),
        test_logs=rectools({"1": [(9100, "2"), (9200, "1")]}),
        format="rectools",
        user="user_id",
        observer=QUIET,
    )
    assert (raw(data.train, data), raw(data.test, data)) == ([["1", "2"], ["1"]], [["2", "1"]])
    assert data.source["warnings"] == []


def test_bad_rows_of_both(tmp_path: Path) -> None:
    logs, tests = session_rec(tmp_path / "train", TRAIN), session_rec(tmp_path / "test", TEST)
    for path, rows in ((logs, ["6\t\t1400000500.0"]), (tests, ["7\t5", "8\t5\tnever", "9\t5\t"])):
        path.write_text(path.read_text() + "\n".join(rows))
    arguments = ("prepare", "logs", logs, tmp_path / "data", "--format", "session-rec", "--test-logs", tests)
    assert "train: expected at most 0 bad rows" in refused(*arguments)
    error = refused(*arguments, "--max-bad-rows", 1)
    assert error.startswith(f"{tests}: expected at most 1 bad rows (--max-bad-rows), got 3: ")
    succeed(*arguments, "--max-bad-rows", 3)
    data = read_dataset(tmp_path / "data")
    assert {reason: found["count"] for reason, found in data.source["bad_rows"].items()} == {
        "no ItemId": 1,
        "Time cannot be read (test logs)": 1,
        "no Time (test logs)": 1,
        "wrong number of columns (test logs)": 1,
    }
    assert raw(data.test, data) == [["", ""], ["8", "7", ""]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": "1d"}, "test: expected none with --test-logs, got '1d'"),
        ({"test_from": "2014-05-13"}, "test_from: expected none with --test-logs, got '2014-05-13'"),
        ({"preset": "published"}, "preset: expected clean with --test-logs, which are split already, got 'published'"),
        ({"support_from": "all"}, "support_from: expected none with --minimum-support 1, got 'all'"),
        ({"test_logs": []}, "test_logs: expected one path or more, got none"),
        ({"test_logs": 7}, "test_logs: expected paths, or a data frame or table"),
        ({"test_logs": "train*"}, "test_logs: expected other files than the logs', got "),
        ({"test_logs": "copy"}, "copy: expected other clicks than in "),
        ({"test_logs": "nowhere"}, "'nowhere': expected a file, a folder or a pattern that files match, got none"),
        ({"test_logs": "empty"}, "empty: expected clicks, got an empty file"),
        ({"test_logs": "header"}, "header: expected clicks, got none that can be used: no rows"),
        ({"test_logs": "other"}, "other: expected one column 'SessionId', got session, item"),
        ({"test_logs": pd.DataFrame({"ItemId": [1], "Time": [1]})}, "test frame: expected one column 'SessionId', got"),
    ],
)
def test_refused(options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session_rec(Path("train"), TRAIN)
    session_rec(Path("test"), TEST)
    shutil.copy("train", "copy")
    Path("empty").touch()
    Path("header").write_text("SessionId\tItemId\tTime\n")
    Path("other").write_text("session\titem\n1\t2\n")
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        prepare("train", **{"test_logs": "test", "format": "session-rec", "observer": QUIET, **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "session_id\titem_id\ttimestamp",
            "expected one column 'session_id:token', got session_id, item_id, timestamp",
        ),
        ("user_id:token\titem_id:token\ttimestamp:float", "expected one column 'session_id:token', got user_id:token,"),
        ("session_id:token\titem_id:token", "expected one column 'timestamp:float', got session_id:token"),
        (
            "session_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float",
            "expected a click in each row, got 'item_id_list:token_seq', examples; see prepare exchange",
        ),
    ],
)
def test_other_atomic_files(header: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.inter"
    path.write_text(f"{header}\n" + "\t".join("1" for _ in header.split("\t")) + "\n")
    assert message in refused("prepare", "logs", path, tmp_path / "data", "--format", "recbole")
    if header.startswith("user_id"):  # it has no other fault
        options = ("--session-column", "user_id:token", "--minimum-support", 1, "--minimum-length", 1, "--test", "0s")
        assert "training sessions" in refused(
            "prepare", "logs", path, tmp_path / "data", "--format", "recbole", *options
        )


def test_no_update_of_a_ready_split(tmp_path: Path) -> None:
    logs, tests = session_rec(tmp_path / "train", TRAIN), session_rec(tmp_path / "test", TEST)
    prepare(logs, tmp_path / "data", test_logs=tests, format="session-rec", observer=QUIET)
    with pytest.raises(ValueError, match="data: expected a test set that is the last period, got one of test logs"):
        update(tmp_path / "data", tests)


def test_from_their_files_to_figures(tmp_path: Path) -> None:
    """Split by us, and as they split it: both train and evaluate."""
    log: Log = {
        str(number): [(number * 3600 + click, str((number + click) % 7)) for click in range(2 + number % 3)]
        for number in range(60)
    }
    whole = session_rec(tmp_path / "whole.txt", log)
    ours = tmp_path / "ours"
    succeed("prepare", "logs", whole, ours, "--format", "session-rec")
    split = read_dataset(ours).source["test_from_microseconds"] // 10**6 - FIRST
    train = {name: clicks for name, clicks in log.items() if clicks[-1][0] < split}
    parts = [
        recbole(tmp_path / "x.train.inter", train),
        recbole(tmp_path / "x.test.inter", {name: own for name, own in log.items() if name not in train}),
    ]
    theirs = tmp_path / "theirs"
    succeed("prepare", "logs", parts[0], theirs, "--format", "recbole", "--test-logs", parts[1])
    assert read_dataset(ours).fingerprint() == read_dataset(theirs).fingerprint()
    succeed("train", theirs, "--run", tmp_path / "run", *TINY)
    assert "theirs, test sessions, in percent" in succeed("evaluate", tmp_path / "run")
