"""Any split of a log into parts that overlap, are sent again or come late gives the data set of the whole log."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Dataset, read_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions
from tests.logs.by_hand import ByHand, Click, read_clicks, sessions_of, split_by_hand, with_new_clicks
from tests.logs.running import prepared, raw, updated

EXAMPLES = int(os.environ.get("TAGNN_FAST_UPDATE_EXAMPLES", "25"))
START = datetime(2024, 3, 1, tzinfo=UTC)
OWN = LogFormat("sessions", owner="owner", item="item", time="time")
USERS = LogFormat("users", owner="owner", owner_is_user=True, item="item", time="time")
PLACED = LogFormat("placed", owner="owner", item="item", time="time", since_start="place")


@dataclass(frozen=True)
class Log:
    """Rows (owner, item, minute, place) in the order of the file, and windows of minutes that are sent one by one."""

    form: LogFormat
    options: PrepareOptions
    rows: list[tuple[int, int, int, int]]
    windows: list[tuple[int, int]]
    all_times_differ: bool


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Sessions of users of a few days, some over the cuts; windows in any order, with overlaps, some sent twice."""
    random = Random(draw(st.integers(0, 2**32 - 1)))
    form = draw(st.sampled_from([OWN, OWN, USERS, USERS, PLACED]))
    differ = draw(st.booleans())
    days = random.randint(2, 4)
    end = 1440 * days
    rows: dict[tuple[int, int, int, int], None] = {}
    taken = set[int]()
    for session in range(random.randint(12, 24)):
        minute = random.randrange(end)
        for _ in range(random.randint(1, 6)):
            minute += random.randint(1, random.choice([20, 200]))
            time = minute if differ else minute - minute % 30
            if time < end and not (differ and time in taken):
                taken.add(time)
                owner = random.randrange(6) if form is USERS else session
                rows[owner, random.choice([1, 1, 1, 2, 2, 3, 4, 5, 6]), time, random.randrange(4)] = None
    order = list(rows)
    if draw(st.booleans()):
        order.sort(key=lambda row: row[2])
    order += random.sample(order, min(len(order), random.choice([0, 0, 3])))  # that the shop itself has twice
    cuts = sorted(random.sample(range(600, end - 300), random.randint(1, 3)))
    windows = [
        (begin - random.choice([0, 0, 90, 900]), until + random.choice([0, 0, 90, 900]))
        for begin, until in pairwise([0, *cuts, end])
    ]
    if draw(st.booleans()):
        random.shuffle(windows)
    if random.random() < 0.3:
        windows.append(random.choice(windows))
    return Log(form, draw(options(form)), order, windows, differ)


def options(form: LogFormat) -> st.SearchStrategy[PrepareOptions]:
    kinds = ["gap", "day"] if form.owner_is_user else ["given"]
    zone = {"time_zone": st.sampled_from(["UTC", "Asia/Tokyo"])}
    fields: dict[str, Any] = {
        **({} if form is PLACED else zone),
        "sessions": st.sampled_from(kinds),
        "minimum_length": st.integers(1, 2),
        "minimum_support": st.sampled_from([1, 2, 2, 3, 4]),
        "test": st.sampled_from(["1d", "6h"]),
        "cold_items": st.sampled_from(["drop", "drop", "keep"]),
        "support_from": st.sampled_from(["train", "train", "all"]),
        "boundary": st.sampled_from(["test", "lost"]),
        "collapse_repeats": st.booleans(),
        "until_stable": st.booleans(),
        "maximum_length": st.sampled_from([None, None, None, 3]),
        "date": st.sampled_from(["latest", "latest", "latest", "last row"]),
        "order": st.sampled_from(["time", "time", "time", "file"]),
    }
    if "gap" in kinds:
        fields["gap"] = st.sampled_from(["8h", "2h"])
    return st.builds(PrepareOptions, **fields)


def write(path: Path, rows: list[tuple[int, int, int, int]]) -> str:
    lines = [
        f"u{owner},i{item},{START + timedelta(minutes=minute):%Y-%m-%d %H:%M},{place}"
        for owner, item, minute, place in rows
    ]
    path.write_text("\n".join(["owner,item,time,place", *lines, ""]))
    return str(path)


def assert_equals(dataset: Dataset, expected: ByHand) -> None:
    assert raw(dataset.train, dataset) == expected.train
    known = set(chain.from_iterable(expected.train))
    assert raw(dataset.test, dataset) == [[item if item in known else "" for item in items] for items in expected.test]
    assert dataset.raw_test is not None
    assert dataset.raw_test.to_pylist() == expected.raw_test
    clicks = Counter(chain.from_iterable(expected.train))
    ids = dataset.vocabulary.raw_ids.to_pylist()
    assert dict(zip(ids, dataset.vocabulary.counts.tolist(), strict=True)) == {item: clicks[item] for item in ids}
    assert set(ids) >= known


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES == 25,
    phases=(Phase.explicit, Phase.generate),  # an example takes a second: do not shrink
    database=None,
)
@given(logs())
def test_any_split_gives_the_whole(log: Log) -> None:
    titles = {f"i{item}": f"Item {item}" for item in range(1, 7)}
    with TemporaryDirectory() as name:
        folder = Path(name)
        dataset, clicks, pending = None, list[Click](), list[tuple[int, int]]()
        for number, window in enumerate(log.windows):
            pending.append(window)
            part = [row for row in log.rows if any(begin <= row[2] < end for begin, end in pending)]
            path = folder / f"{number}.csv"
            write(path, part)
            new, bad = read_clicks([path], log.form, log.options)
            before, clicks = clicks, with_new_clicks(clicks, new)
            expected = split_by_hand(clicks, bad, log.options) if clicks else None
            if expected is None or not expected.train or not part:
                # Nothing to train on, or nothing at all: said so, and sent again with the next part.
                with pytest.raises(ValueError, match="expected"):
                    prepared(str(path), log.form, log.options) if dataset is None else updated(
                        dataset, str(path), log.form
                    )
                clicks = before
                continue
            pending.clear()
            if dataset is None:
                dataset = prepared(str(path), log.form, log.options).with_titles(titles)
            else:
                rows = dataset.vocabulary.raw_ids
                after = updated(dataset, str(path), log.form)
                assert after.vocabulary.raw_ids[: len(rows)].equals(rows)
                assert (after is dataset) == (len(before) == len(clicks))
                if after is not dataset:
                    assert_says_what_came(after, before, new, clicks, log.options)
                dataset = after
            assert_equals(dataset, expected)
            write_dataset(dataset, folder / f"data-{number}")
            dataset = read_dataset(folder / f"data-{number}")
            assert [dataset.vocabulary.title(item) for item in dataset.vocabulary.raw_ids.to_pylist()] == [
                titles[item] for item in dataset.vocabulary.raw_ids.to_pylist()
            ]
        # Clicks of one time or place stand in the order in which they came.
        ordered = log.all_times_differ and log.form.since_start is None
        if dataset is not None and ordered and len(clicks) == len(log.rows):
            whole, _ = read_clicks([Path(write(folder / "whole.csv", log.rows))], log.form, log.options)
            if log.options.date == "latest" and log.options.order == "time":
                assert_equals(dataset, split_by_hand(whole, Counter(), log.options))


def assert_says_what_came(
    after: Dataset, before: list[Click], new: list[Click], clicks: list[Click], options: PrepareOptions
) -> None:
    """The record of the update, where a session is recognised by its clicks."""
    record = after.source["updates"][-1]
    added = len(clicks) - len(before)
    assert record["clicks"] == {"new": added, "repeated": len(new) - added}
    sent = {(click.owner, click.item, click.time, click.place) for click in new}
    kinds = Counter[str]()
    for session in sessions_of(clicks, options):
        old = [click for click in session.clicks if click.row < len(before)]
        if len(old) < len(session.clicks):
            kinds["continued" if old else "new"] += 1
        elif any((click.owner, click.item, click.time, click.place) in sent for click in old):
            kinds["repeated"] += 1
    assert record["sessions"] == {kind: kinds[kind] for kind in ("new", "continued", "repeated")}
