"""Options of `prepare logs` that are refused together, what is warned of, and where nothing is left."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import read_dataset
from tagnn_fast.logs import PrepareOptions
from tagnn_fast.logs.checks import warn_of_split
from tagnn_fast.logs.pipeline import Report
from tests.cli.commands import read, refused, run, succeed, words

SESSIONS = ("--session-column", "session", "--item-column", "item", "--time-column", "time")
USERS = ("--user-column", "user", *SESSIONS[2:])
PAPER = (*SESSIONS, "--preset", "paper")
EVENTS = (*SESSIONS, "--event-column", "event", "--events", "view")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of sessions of one to seven clicks, not all in order of time, with repeats and rare items."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    rows = ["session,user,item,other,time,seconds,event"]
    start = datetime(2024, 5, 1, 20)
    for session in range(90):
        for click in range(1 + session % 7):
            time = start + timedelta(hours=session * 1.5, minutes=(click * 7) % 40)
            item = (session * 3 + click * click) % (11 if session % 5 else 37)
            seconds = (time - datetime(1970, 1, 1)) // timedelta(seconds=1)
            kind = "cart" if click % 3 == 1 else "view"
            rows.append(f"{session % 45 + 100},u{session % 9},{item},{item % 5},{time},{seconds},{kind}")
    path.write_text("\n".join([*rows, ""]))
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((*SESSIONS, "--gap", "1h"), "gap: expected none where the log has sessions, got '1h'"),
        ((*SESSIONS, *USERS[:2], "--gap", "1h"), "gap: expected none where the log has sessions, got '1h'"),
        ((*USERS, "--sessions", "day", "--gap", "1h"), "gap: expected none with --sessions day, got '1h'"),
        ((*SESSIONS, "--sessions", "gap"), "sessions: expected given, since the log has sessions, got 'gap'"),
        ((*USERS, "--sessions", "given"), "sessions: expected gap or day, since the log has users, got 'given'"),
        ((*SESSIONS, "--test", "1d", "--test-from", "2024-05-04"), "expected --test or --test-from, got both"),
        (
            (*SESSIONS, "--until-stable", "--minimum-support", 1),
            "until_stable: expected none with --minimum-support 1, got True",
        ),
        (
            (*PAPER, "--support-from", "train", "--minimum-support", 1),
            "support_from: expected none with --minimum-support 1, got 'train'",
        ),
        (
            (*SESSIONS, "--minimum-length", 1, "--until-stable"),
            "until_stable: expected none with --minimum-length 1, got True",
        ),
        (
            (*SESSIONS, "--user-column", " session"),
            "expected different columns for --session-column and --user-column, got 'session' for both",
        ),
        (
            (*SESSIONS, "--item-column", "session"),
            "expected different columns for --session-column and --item-column, got 'session' for both",
        ),
        (
            (*EVENTS, "--event-column", "time"),
            "expected different columns for --time-column and --event-column, got 'time' for both",
        ),
        ((*SESSIONS, "--time-unit", "iso", "--time-format", "%Y"), "expected --time-unit or --time-format, got both"),
        ((*SESSIONS, "--event-column", "event"), "expected --event-column and --events together"),
        ((*SESSIONS, "--events", "view"), "expected --event-column and --events together"),
        ((*EVENTS[:-1], "view,,cart"), "events: expected kinds with commas between, got 'view,,cart'"),
        ((*SESSIONS, "--spark-master", "local[2]"), "spark_master: expected none with --engine duckdb, got 'local[2]'"),
        (
            (*SESSIONS, "--max-session-clicks", 3, "--maximum-length", 3),
            "maximum_length: expected less than max_session_clicks, 3, got 3",
        ),
        (
            (*SESSIONS, "--maximum-length", 3, "--minimum-length", 4),
            "maximum_length: expected minimum_length, 4, or more, got 3",
        ),
        (
            (*SESSIONS, "--max-session-clicks", 3, "--minimum-length", 4),
            "max_session_clicks: expected minimum_length, 4, or more, got 3",
        ),
        (
            (*SESSIONS, "--from", "2024-05-04", "--until", "2024-05-04"),
            "until_time: expected later than '2024-05-04', got '2024-05-04'",
        ),
        (
            (*SESSIONS, "--until", "2024-05-04", "--test-from", "2024-05-05"),
            "test_from: expected between from_time and until_time, got '2024-05-05'",
        ),
        (
            (*SESSIONS, "--minimum-support", 10**20),
            f"minimum_support: expected at most {2**62}, got {10**20}",
        ),
        ((*SESSIONS, "--from", "May"), "from_time: expected an ISO date or time, got 'May'"),
    ],
)
def test_options_that_are_refused_together(
    options: tuple[object, ...], expected: str, log: Path, tmp_path: Path
) -> None:
    assert refused("prepare", "logs", log, tmp_path / "data", *options) == expected


@pytest.mark.parametrize(
    "option", [("--separator", ";"), ("--quote", "'"), ("--columns", "a,b"), ("--encoding", "latin-1")]
)
def test_options_of_text_files(option: tuple[str, str], log: Path, tmp_path: Path) -> None:
    pq.write_table(pa.csv.read_csv(log), tmp_path / "log.parquet")
    message = refused("prepare", "logs", tmp_path / "log.parquet", tmp_path / "data", *SESSIONS, *option)
    assert option[0].removeprefix("--") in message or option[1] in message


def test_lists_with_blanks(log: Path, tmp_path: Path) -> None:
    """Around names of columns and kinds of events."""
    lines = log.read_text().splitlines()
    (tmp_path / "bare.csv").write_text("\n".join([*lines[1:], ""]))
    named = ("--columns", " , ".join(lines[0].split(",")), *EVENTS[:-1], " view , cart ")
    succeed("prepare", "logs", tmp_path / "bare.csv", tmp_path / "bare", *named)
    succeed("prepare", "logs", log, tmp_path / "whole", *SESSIONS)
    assert read_dataset(tmp_path / "bare").fingerprint() == read_dataset(tmp_path / "whole").fingerprint()


def test_where_nothing_is_left(log: Path, tmp_path: Path) -> None:
    """The error names the option, and the table shows where it went."""
    for options, expected in (
        (("--minimum-support", 900), "items of 900 clicks or more in training sessions, got none that leave one; see "
         "--minimum-support"),
        (("--minimum-length", 50), "sessions of 50 clicks or more, got none; see --minimum-length"),
        (("--fraction", 10**6), "training examples in the last 1/1000000 of them, got none; see --fraction"),
        (("--test", "900d"), "training sessions before the split, got none; see --test and --test-from"),
    ):  # fmt: skip
        result = run("prepare", "logs", log, tmp_path / "data", *SESSIONS, *options)
        assert (result.returncode, result.stderr) == (1, f"error: data: expected {expected}\n")
        assert "clicks of the log 357 45" in words(result.stdout)


def test_a_click_in_the_future(log: Path, tmp_path: Path) -> None:
    """Its test set of one session is pointed out, with the times; an end of the time mends it."""
    lines = (
        log.read_text()
        + "200,u1,0,0,2093-01-01 00:00:00,3881606400,view\n200,u1,1,1,2093-01-01 00:01:00,3881606460,view\n"
    )
    (tmp_path / "log.csv").write_text(lines)
    more = ("--test-from", "2090-01-01")
    printed = words(
        succeed("prepare", "logs", tmp_path / "log.csv", tmp_path / "data", *SESSIONS, *more, "--minimum-support", 1)
    )
    assert "times of clicks: first 2024-05-01 20:00:00, 1% 2024-05-01" in printed
    assert "last 2093-01-01 00:01:00" in printed
    assert "warning: the last click is at 2093-01-01 00:01:00, but 99% of all are before 2024-05-" in printed
    assert len(read(tmp_path / "data" / "dataset.json")["source"]["warnings"]) >= 1
    succeed("prepare", "logs", tmp_path / "log.csv", tmp_path / "mended", *SESSIONS, "--until", "2030-01-01")
    succeed("prepare", "logs", log, tmp_path / "whole", *SESSIONS)
    assert read_dataset(tmp_path / "mended").fingerprint() == read_dataset(tmp_path / "whole").fingerprint()
    source = read(tmp_path / "mended" / "dataset.json")["source"]
    assert source["bad_rows"]["at --until or later"] == {"count": 2, "some": []}
    assert source["options"]["until_time"] == "2030-01-01"


@pytest.mark.parametrize(("test", "train", "warned"), [(1, 200, True), (1, 99, False), (5, 5, False), (6, 5, True)])
def test_small_and_large_test_sets(test: int, train: int, warned: bool) -> None:
    steps = [{"step": "test sessions", "sessions": test}, {"step": "training sessions", "sessions": train}]
    report = Report(steps=steps)
    spread = {"first": 0, "10%": 1, "median": 4, "90%": 9, "99%": 10, "last": 10}
    warn_of_split(report, spread, 10, PrepareOptions())
    assert [f"the test set has {test} of {test + train} sessions" in warning for warning in report.warnings] == (
        [True] if warned else []
    )


@pytest.mark.parametrize("days", [2, 4000])
def test_few_sessions_where_more_are_usual(days: int, tmp_path: Path) -> None:
    """One session of sixty has a wrong date, which is more than 1% of them; without it, nothing is warned of."""
    start = datetime(2024, 5, 1)
    rows = [(n, click, start + timedelta(hours=n * 1.6, minutes=click)) for n in range(60) for click in range(3)]
    late = [(n, item, time + timedelta(days=days) * (n == 50)) for n, item, time in rows]
    for name, clicks in (("right", rows), ("wrong", late)):
        lines = [f"{n},{item},{time.isoformat()}" for n, item, time in clicks]
        (tmp_path / f"{name}.csv").write_text("\n".join(["session,item,time", *lines, ""]))
        succeed("prepare", "logs", tmp_path / f"{name}.csv", tmp_path / name, *SESSIONS)
    assert read(tmp_path / "right" / "dataset.json")["source"]["warnings"] == []
    warnings = read(tmp_path / "wrong" / "dataset.json")["source"]["warnings"]
    assert any("few sessions are in the test set, 1, where " in warning for warning in warnings)
    assert len(read_dataset(tmp_path / "wrong").test) == 1


def test_clicks_of_no_time(log: Path, tmp_path: Path) -> None:
    """A time of 0 is pointed out, and so is a window that holds nothing."""
    (tmp_path / "log.csv").write_text(log.read_text() + "100,u1,0,0,1970-01-01 00:00:00,0,view\n")
    printed = words(succeed("prepare", "logs", tmp_path / "log.csv", tmp_path / "data", *SESSIONS))
    assert "warning: the first click is at 1970-01-01 00:00:00: see --from if that means no time" in printed
    message = refused("prepare", "logs", log, tmp_path / "none", *SESSIONS, "--from", "2030-01-01")
    assert message == f"{log}: expected clicks, got none that can be used: 357 × before --from"


def test_ids_with_blanks(log: Path, tmp_path: Path) -> None:
    """They are other ids than those without, which is said; a separator with the blank is what was meant."""
    (tmp_path / "log.csv").write_text(log.read_text().replace(",", ", "))
    printed = words(succeed("prepare", "logs", tmp_path / "log.csv", tmp_path / "data", *SESSIONS))
    count = len(read_dataset(tmp_path / "data").vocabulary)
    assert f"warning: {count} of {count} item ids have blanks around them, such as ' " in printed
    printed = succeed("prepare", "logs", tmp_path / "log.csv", tmp_path / "mended", *SESSIONS, "--separator", ", ")
    assert "have blanks around them" not in printed
    succeed("prepare", "logs", log, tmp_path / "whole", *SESSIONS)
    assert read_dataset(tmp_path / "mended").fingerprint() == read_dataset(tmp_path / "whole").fingerprint()


def test_catalogue_of_a_fraction(log: Path, tmp_path: Path) -> None:
    """Items have training clicks, and test items are among them; the published way keeps all."""
    succeed("prepare", "logs", log, tmp_path / "clean", *SESSIONS, "--fraction", 20)
    clean = read_dataset(tmp_path / "clean")
    assert clean.vocabulary.counts.min() > 0
    assert set(clean.train.clicks.tolist()) == set(range(1, len(clean.vocabulary) + 1))
    succeed("prepare", "logs", log, tmp_path / "paper", *PAPER, "--fraction", 20)
    assert read_dataset(tmp_path / "paper").vocabulary.counts.min() == 0
