"""Logs that users had trouble with: what their rows mean, recomputed row by row."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from tagnn_fast.data import read_dataset
from tests.cli.commands import read, refused, succeed, words
from tests.support import shared

SECONDS = ("--item-column", "item", "--time-column", "time", "--time-unit", "seconds")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_junk_id(tmp_path: Path) -> None:
    """A junk id that does not stay changes nothing."""
    logs = shared("field_cases/one-junk-id")
    succeed("prepare", "logs", logs / "clean.csv", tmp_path / "clean", "--session-column", "session", *SECONDS)
    junk_log = logs / "one_junk_row.csv"
    printed = words(succeed("prepare", "logs", junk_log, tmp_path / "junk", "--session-column", "session", *SECONDS))
    clean, junk = read_dataset(tmp_path / "clean"), read_dataset(tmp_path / "junk")
    assert junk.fingerprint() == clean.fingerprint()
    assert junk.vocabulary.integers
    assert "item ids: integer" in printed
    (odd,) = {row["item"] for row in rows_of(logs / "one_junk_row.csv")} - {
        row["item"] for row in rows_of(logs / "clean.csv")
    }
    assert read(tmp_path / "junk" / "dataset.json")["source"]["bad_rows"] == {
        "item is no integer": {"count": 1, "some": [odd]}
    }


def sessions_of(folder: Path) -> Counter[tuple[str, ...]]:
    """The sessions of both splits by raw ids, before cold items went."""
    dataset = read_dataset(folder)
    ids = dataset.vocabulary.raw_ids.to_pylist()
    clicks, bounds = dataset.train.clicks.tolist(), dataset.train.offsets.tolist()
    train = [tuple(str(ids[item - 1]) for item in clicks[begin:end]) for begin, end in pairwise(bounds)]
    return Counter(train + [tuple(map(str, session)) for session in dataset.raw_test.to_pylist()])


def expected_sessions(
    rows: list[dict[str, str]], key: tuple[str, ...], item: str, time: str
) -> Counter[tuple[str, ...]]:
    """Of rows in the order of their times, by what tells sessions apart."""
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: float(row[time])):
        found[tuple(row[name] for name in key)].append(row[item])
    return Counter(tuple(items) for items in found.values() if len(items) > 1)


ALL = ("--minimum-support", 1)


def test_session_id_per_user(tmp_path: Path) -> None:
    """Both columns make 120 sessions; one alone merges them, and that is said."""
    log = shared("field_cases/session-id-per-user/events.csv")
    columns = (
        "--session-column", "session_number", "--item-column", "item", "--time-column", "event_time", "--time-unit",
        "seconds", "--test", "1h",
    )  # fmt: skip
    succeed("prepare", "logs", log, tmp_path / "data", *columns, "--user-column", "user_pseudo_id", *ALL)
    expected = expected_sessions(rows_of(log), ("user_pseudo_id", "session_number"), "item", "event_time")
    assert sum(expected.values()) == 120
    assert sessions_of(tmp_path / "data") == expected
    printed = words(succeed("prepare", "logs", log, tmp_path / "merged", *columns, *ALL))
    assert "warning: 2 of 2 sessions are over a day long: if session ids are unique only with the user's" in printed
    assert len(read(tmp_path / "merged" / "dataset.json")["source"]["warnings"]) >= 1


def test_rees46(tmp_path: Path) -> None:
    """Times that end in UTC."""
    log = shared("field_cases/rees46/2019-Oct.csv")
    columns = ("--session-column", "user_session", "--item-column", "product_id", "--time-column", "event_time")
    succeed("prepare", "logs", log, tmp_path / "data", *columns, *ALL)
    rows = rows_of(log)
    for row in rows:
        time = datetime.strptime(row["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        row["event_time"] = str(time.timestamp())
    assert sessions_of(tmp_path / "data") == expected_sessions(rows, ("user_session",), "product_id", "event_time")


def test_events_space(tmp_path: Path) -> None:
    """Both kinds count, however they are listed; a kind that never occurs is an error."""
    log = shared("field_cases/events-space/log.csv")
    columns = ("--session-column", "session", *SECONDS, "--event-column", "event")
    succeed("prepare", "logs", log, tmp_path / "data", *columns, "--events", "view, cart", *ALL)
    rows = [row for row in rows_of(log) if row["event"] in ("view", "cart")]
    assert sessions_of(tmp_path / "data") == expected_sessions(rows, ("session",), "item", "time")
    counts = Counter(row["event"] for row in rows_of(log))
    message = refused("prepare", "logs", log, tmp_path / "no", *columns, "--events", "view,carts")
    assert message.startswith("events: expected kinds that occur, got 'carts'; event has ")
    for event, count in counts.items():
        assert f"{event} ({count:,})" in message


def test_bot_session(tmp_path: Path) -> None:
    """A robot's session is cut, and what it clicked on no longer counts; without the option it is pointed out."""
    log = shared("field_cases/bot-session/log.csv")
    columns = ("--session-column", "s", "--item-column", "i", "--time-column", "t", "--time-unit", "seconds")
    found: dict[str, int] = Counter(row["s"] for row in rows_of(log))
    cut = {name: count - 100 for name, count in found.items() if count > 100}
    succeed("prepare", "logs", log, tmp_path / "data", *columns, "--max-session-clicks", 100, *ALL)
    steps = {step["step"]: step for step in read(tmp_path / "data" / "dataset.json")["source"]["steps"]}
    step = steps["last 100 clicks of sessions"]
    assert (step["sessions_cut"], step["clicks_cut"]) == (len(cut), sum(cut.values()))
    assert step["clicks"] == len(rows_of(log)) - sum(cut.values())
    expected = expected_sessions(rows_of(log), ("s",), "i", "t")
    assert sessions_of(tmp_path / "data") == Counter({session[-100:]: count for session, count in expected.items()})
    printed = words(succeed("prepare", "logs", log, tmp_path / "whole", *columns, *ALL))
    assert f"warning: the longest session has {max(found.values()):,} clicks" in printed
