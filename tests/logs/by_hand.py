"""The same rules in plain Python, click by click: what the pipeline is held against."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tagnn_fast.logs import LogFormat, PrepareOptions
from tagnn_fast.logs.options import duration

TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?( ?(Z|[+-]\d{2}(:\d{2})?))?")


@dataclass
class Click:
    owner: str
    item: str
    time: int
    place: int
    row: int


@dataclass
class Session:
    clicks: list[Click]
    date: int
    first: int


@dataclass
class ByHand:
    """Raw ids of the sessions of both splits, of the test before and after cold items went; how many rows were bad."""

    train: list[list[str]]
    test: list[list[str]]
    raw_test: list[list[str]]
    bad: Counter[str]


def read_clicks(paths: Sequence[Path], form: LogFormat, zone: ZoneInfo) -> tuple[list[Click], Counter[str]]:
    clicks, bad, number = [], Counter[str](), 0
    for path in sorted(paths):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = list(csv.reader(content.decode().splitlines(), delimiter=form.separator))
        columns = list(form.columns) or rows.pop(0)
        for row in rows:
            number += 1
            if len(row) != len(columns):
                bad["wrong number of columns"] += 1
                continue
            value = dict(zip(columns, row, strict=True))
            if form.event is not None and value[form.event] not in form.events:
                continue
            missing = next((name for name in (form.owner, form.item, form.time) if not value[name]), None)
            time = microseconds(value[form.time], zone)
            if missing is not None or time is None:
                bad[f"no {missing}" if missing is not None else f"{form.time} cannot be read"] += 1
                continue
            place = int(value[form.since_start]) if form.since_start is not None else time
            clicks.append(Click(value[form.owner], value[form.item], time, place, number))
    return clicks, bad


def microseconds(text: str, zone: ZoneInfo) -> int | None:
    if not TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    return round(time.timestamp() * 10**6)


def sessions_of(clicks: list[Click], options: PrepareOptions) -> list[Session]:
    zone = ZoneInfo(options.time_zone)
    owners: dict[str, list[Click]] = {}
    for click in clicks:
        owners.setdefault(click.owner, []).append(click)
    groups: list[list[Click]] = []
    for own in owners.values():
        if options.sessions == "given":
            groups.append(own)
            continue
        own = sorted(own, key=lambda click: (click.time, click.row))
        before = None
        for click in own:
            day = datetime.fromtimestamp(click.time / 1e6, zone).date()
            starts = before is None or (
                day != before[1] if options.sessions == "day" else click.time - before[0] > duration(options.gap)
            )
            groups += [[]] if starts else []
            groups[-1].append(click)
            before = click.time, day
    made = []
    for group in groups:
        last = (
            max(group, key=lambda click: click.row) if options.date == "last row" else max(group, key=lambda c: c.time)
        )
        unit = duration(options.date_unit) or 1
        first = min(click.row for click in group)
        ordered = sorted(group, key=lambda click: (click.place if options.order == "time" else 0, click.row))
        made.append(Session(ordered, last.time - last.time % unit, first))
    return sorted(made, key=lambda session: (session.date, session.first))


def filtered(sessions: list[Session], options: PrepareOptions) -> list[Session]:
    while True:
        before = sum(len(session.clicks) for session in sessions)
        support = Counter(click.item for session in sessions for click in session.clicks)
        sessions = [
            Session(
                [click for click in session.clicks if support[click.item] >= options.minimum_support],
                session.date,
                session.first,
            )
            for session in sessions
        ]
        sessions = long(sessions, options)
        if not options.until_stable or before == sum(len(session.clicks) for session in sessions):
            return sessions


def long(sessions: list[Session], options: PrepareOptions) -> list[Session]:
    return [session for session in sessions if len(session.clicks) >= options.minimum_length]


def with_new_clicks(old: list[Click], new: list[Click]) -> list[Click]:
    """An update: new clicks that are not there yet, behind the old ones; as many equal ones as where there are more."""
    there = Counter((click.owner, click.item, click.time, click.place) for click in old)
    clicks = list(old)
    for click in new:
        key = click.owner, click.item, click.time, click.place
        if there[key] > 0:
            there[key] -= 1
        else:
            clicks.append(click)
    return [replace(click, row=row) for row, click in enumerate(clicks)]


def prepare_by_hand(paths: Sequence[Path], form: LogFormat, options: PrepareOptions) -> ByHand:
    clicks, bad = read_clicks(paths, form, ZoneInfo(options.time_zone))
    others = [click for click in clicks if not is_integer(click.item)]
    if others and options.item_ids != "string":
        fitting = [click for click in clicks if is_integer(click.item)]
        made = split_by_hand(clicks, bad, options) if options.item_ids == "auto" else None
        if made is None or all(is_integer(item) for items in made.train for item in items):
            return split_by_hand(fitting, bad + Counter({f"{form.item} is no integer": len(others)}), options)
        return made
    return split_by_hand(clicks, bad, options)


def is_integer(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def split_by_hand(clicks: list[Click], bad: Counter[str], options: PrepareOptions) -> ByHand:
    sessions = sessions_of(clicks, options)
    if options.collapse_repeats:
        for session in sessions:
            session.clicks = [
                click
                for place, click in enumerate(session.clicks)
                if place == 0 or session.clicks[place - 1].item != click.item
            ]
    sessions = long(sessions, options)
    if options.support_from == "all":
        sessions = filtered(sessions, options)
    split = options.split_date()
    if split is None:
        split = max((session.date for session in sessions), default=0) - duration(options.test)
    train = [session for session in sessions if session.date < split]
    test = [s for s in sessions if s.date > split or (s.date == split and options.boundary == "test")]
    if options.support_from == "train":
        train = filtered(train, options)
    most = options.maximum_length or 10**9
    train_items = [[click.item for click in session.clicks][-most:] for session in train]
    raw_test = [[click.item for click in session.clicks][-most:] for session in test]
    known = {item for items in train_items for item in items}
    test_items = raw_test
    if options.cold_items == "drop":
        test_items = [[item for item in items if item in known] for items in raw_test]
        test_items = [items for items in test_items if len(items) >= options.minimum_length]
    return ByHand(train_items, test_items, raw_test, bad)
