"""Any split of a log into parts that overlap, are sent again or come late gives the data set of the whole log."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from logs.by_hand import ByHand, Click, read_clicks, sessions_of, split_by_hand, with_new_clicks
from logs.running import prepared, raw, updated
from tagnn_fast.data import Dataset, read_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions

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
    days = draw(st.integers(2, 5))
    differ = draw(st.booleans())
    form = draw(st.sampled_from([OWN, OWN, USERS, USERS, PLACED]))
    row = st.tuples(
        st.integers(0, 9 if form is USERS else 14),
        st.integers(1, 6),
        st.integers(0, 1440 * days // (1 if differ else 30) - 1).map(lambda t: t if differ else t * 30),
        st.integers(0, 3),
    )
    rows = draw(st.lists(row, min_size=12, max_size=60, unique_by=(lambda r: r[2]) if differ else None))
    if draw(st.booleans()):
        rows.sort(key=lambda r: r[2])
    rows += draw(st.lists(st.sampled_from(rows), max_size=4))  # sent twice by the shop itself
    cuts = sorted(draw(st.sets(st.integers(1, 1440 * days - 1), max_size=3)))
    bounds = [0, *cuts, 1440 * days]
    late = st.integers(0, 900)
    windows = [
        (begin - draw(late) * draw(st.booleans()), end + draw(late) * draw(st.booleans()))
        for begin, end in pairwise(bounds)
    ]
    windows += draw(st.lists(st.sampled_from(windows), max_size=1))
    return Log(form, draw(options(form)), rows, draw(st.permutations(windows)), differ)


def options(form: LogFormat) -> st.SearchStrategy[PrepareOptions]:
    kinds = ["gap", "day"] if form.owner_is_user else ["given"]
    zone = {"time_zone": st.sampled_from(["UTC", "Asia/Tokyo"])}
    fields: dict[str, Any] = {
        **({} if form is PLACED else zone),
        "sessions": st.sampled_from(kinds),
        "minimum_length": st.integers(1, 2),
        "minimum_support": st.integers(1, 4),
        "test": st.sampled_from(["1d", "6h"]),
        "cold_items": st.sampled_from(["drop", "drop", "keep"]),
        "support_from": st.sampled_from(["train", "train", "all"]),
        "boundary": st.sampled_from(["test", "lost"]),
        "collapse_repeats": st.booleans(),
        "until_stable": st.booleans(),
        "maximum_length": st.sampled_from([None, None, 3]),
        "date": st.sampled_from(["latest", "latest", "last row"]),
        "order": st.sampled_from(["time", "time", "file"]),
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
    zone = ZoneInfo(log.options.time_zone)
    titles = {f"i{item}": f"Item {item}" for item in range(1, 7)}
    with TemporaryDirectory() as name:
        folder = Path(name)
        dataset, clicks = None, []
        for number, (begin, end) in enumerate(log.windows):
            part = [row for row in log.rows if begin <= row[2] < end]
            path = folder / f"{number}.csv"
            write(path, part)
            new, bad = read_clicks([path], log.form, zone)
            before, clicks = clicks, with_new_clicks(clicks, new)
            expected = split_by_hand(clicks, bad, log.options) if clicks else None
            if expected is None or not expected.train:
                # Nothing to train on: said so, and the clicks are sent again with the next part.
                with pytest.raises(ValueError, match="expected"):
                    prepared(str(path), log.form, log.options) if dataset is None else updated(
                        dataset, str(path), log.form
                    )
                clicks = before
                continue
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
        if dataset is not None and log.all_times_differ and len(clicks) == len(log.rows):
            whole, _ = read_clicks([Path(write(folder / "whole.csv", log.rows))], log.form, zone)
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
