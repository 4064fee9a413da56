"""The same rules in plain Python, click by click: what the pipeline is held against."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from tagnn_fast.logs import LogFormat, PrepareOptions
from tagnn_fast.logs.options import duration

TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d|\d{8})"
    r"((T| +)(?P<hour>\d\d?):(?P<minute>\d\d)(:(?P<second>\d\d)([.,](?P<fraction>\d{1,9}))?)?"
    r"( ?(?P<half>[AaPp][Mm]))?( ?(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<hours>\d\d)(:?(?P<minutes>\d\d))?))?)?",
    re.ASCII,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, END = -2208988800 * 10**6, 7258118400 * 10**6  # 1900 and 2200
UNITS = {"seconds": 10**6, "milliseconds": 1000, "microseconds": 1, "nanoseconds": Fraction(1, 1000)}


@dataclass
class Click:
    owner: tuple[str, str]
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


def read_clicks(paths: Sequence[Path], form: LogFormat, options: PrepareOptions) -> tuple[list[Click], Counter[str]]:
    zone = ZoneInfo(options.time_zone)
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
            if form.event is not None and value[form.event].strip() not in [event.strip() for event in form.events]:
                continue
            needed = [form.owner, *([form.user] if form.user is not None else []), form.item, form.time]
            missing = next((name for name in needed if not value[name]), None)
            time = microseconds(value[form.time], zone, form)
            if missing is not None or time is None:
                bad[f"no {missing}" if missing is not None else f"{form.time} cannot be read"] += 1
                continue
            first, end = (at(when, zone) for when in (options.from_time, options.until_time))
            if (first is not None and time < first) or (end is not None and time >= end):
                bad["before --from" if first is not None and time < first else "at --until or later"] += 1
                continue
            place = int(value[form.since_start]) if form.since_start is not None else time
            owner = (value[form.user] if form.user is not None else "", value[form.owner])
            clicks.append(Click(owner, value[form.item], time, place, number))
    return clicks, bad


def at(date: str | None, zone: ZoneInfo) -> int | None:
    return None if date is None else in_microseconds(datetime.fromisoformat(date), zone)


def microseconds(text: str, zone: ZoneInfo, form: LogFormat | None = None) -> int | None:
    text = text.strip(" \t\n\r\v\f")
    try:
        if form is not None and form.time_unit in UNITS:
            if not re.fullmatch(r"-?\d{1,19}(\.\d*)?", text, re.ASCII) or abs(int(text.split(".")[0])) >= 2**63:
                return None
            found = int(Fraction(text.rstrip(".")) * UNITS[form.time_unit])  # towards zero
            return found if FIRST <= found < END else None
        read = iso(text) if form is None or form.time_format is None else datetime.strptime(text, form.time_format)
        if read is not None and form is not None and form.time_format == "%Y-%j":
            read = read if text.startswith(str(read.year)) else None  # Python takes the 366th day of any year
    except ValueError:
        return None
    if read is None or not FIRST <= in_microseconds(read, UTC) < END:
        return None
    return in_microseconds(read, zone)


def in_microseconds(time: datetime, zone: tzinfo) -> int:
    time = time if time.tzinfo is not None else time.replace(tzinfo=zone)  # of two the earlier
    return (time - EPOCH) // timedelta(microseconds=1)


def iso(text: str) -> datetime | None:
    found = TIME.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    digits = re.sub(r"\D", "", part["date"])
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if not 1900 <= year < 2200:
        return None
    if part["hour"] is None:
        return datetime(year, month, day)
    hour = int(part["hour"])
    if part["half"] is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if part["half"].lower() == "pm" else 0)
    elif len(part["hour"]) != 2:
        return None
    ahead: timezone | None = None
    if part["zone"] is not None:
        hours, minutes = int(part["hours"] or 0), int(part["minutes"] or 0)
        if hours > 17 or minutes > 59:
            return None
        offset = timedelta(hours=hours, minutes=minutes)
        ahead = timezone(-offset if part["sign"] == "-" else offset)
    fraction = int(((part["fraction"] or "") + "000000")[:6])
    second = int(part["second"] or 0)
    return datetime(year, month, day, hour, int(part["minute"]), second, fraction, ahead)


def sessions_of(clicks: list[Click], options: PrepareOptions) -> list[Session]:
    zone = ZoneInfo(options.time_zone)
    owners: dict[tuple[str, str], list[Click]] = {}
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
    return made_by_hand(*read_clicks(paths, form, options), form, options)


def made_by_hand(clicks: list[Click], bad: Counter[str], form: LogFormat, options: PrepareOptions) -> ByHand:
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
    if options.max_session_clicks is not None:
        for session in sessions:
            session.clicks = session.clicks[-options.max_session_clicks :]
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
    if options.fraction > 1:
        wanted = sum(len(items) - 1 for items in train_items) // options.fraction
        kept: list[list[str]] = []
        for items in reversed(train_items):
            examples = min(wanted, len(items) - 1)  # the shortest prefixes
            if wanted > 0:
                kept.insert(0, items[: examples + 1])
            wanted -= examples
        train_items = kept
        if options.catalogue == "kept":
            known = {item for items in train_items for item in items}
    test_items = raw_test
    if options.cold_items == "drop":
        test_items = [[item for item in items if item in known] for items in raw_test]
        test_items = [items for items in test_items if len(items) >= options.minimum_length]
    return ByHand(train_items, test_items, raw_test, bad)
