"""Random clicks, and how their times are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.rules.choices import Choices
from tests.rules.log import Log
from tests.rules.times import EPOCH

LETTERS = (
    "é", "日本", "ß-7", "naïve", 'a "quoted" one', "comma, inside", " space ", "0012", "ключ", "🛒", "Sigur Rós", "[a]",
    "semi;colon", "ta\tb", "null", "NaN", "-", "a::b", "§", "'", "it's", "#1", "\\n", "x" * 64,
)  # fmt: skip
JUNK_ITEMS = (
    "undefined", "N/A", "9223372036854775808", "-9223372036854775809", "007", "+7", "1.0", " 7", "7 ", "٣", "1e3", "-0",
    "0x1f", "1_000", "None", "true",
)  # fmt: skip
JUNK_TIMES = (
    "yesterday", "2024-13-01", "2024-02-30 10:00:00", "12:00:00", "2024", "2024-05-01 24:00:00", "2024-05-01 23:59:60",
    "1715000000", "03/04/2024 10:00", "2024-5-1", "2024-05-01T10", "0000-01-01", "9999-12-31", "1899-12-31 23:00:00",
    "2024-05-01 10:00:00+18:00", "infinity", "now", "2024-05-01 13:00 PM", "2024-05-01 0:30 AM", "２０２４-05-01",
    "2024-05-01 10:00:00 CET", "2024-05-01Z", "2024-05-01 10:60", "2024/05-01", "2024-05-01 10:00:00.", "20240532",
    "2024-05-01 10:00:00+02:60", "2023-02-29", "2024-05-01t10:00:00z", "2024-05-01 9:30:00", "2024-05-01T 10:00:00",
)  # fmt: skip
JUNK_NUMBERS = (
    "NaN", "inf", "1e9", "0x10", "--1", "1 714 000 000", "1_714_000_000", "1,714", ".", "", "abc", "2024-05-01",
    "99999999999999999999", "-", "5..0", "٣",
)  # fmt: skip
UNITS = {"seconds": 10**6, "milliseconds": 10**3, "microseconds": 1}
TIME_FORMATS = (
    "%d/%m/%Y %H:%M:%S", "%m/%d/%y %I:%M %p", "%Y-%m-%dT%H:%M:%S.%f", "%d %b %Y %H:%M", "%Y%m%d%H%M%S",
    "%Y-%j %H:%M:%S", "%d.%m.%Y", "%A, %d %B %Y %H:%M:%S %z",
)  # fmt: skip
ISO_FORMS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d", "%Y/%m/%d %H:%M",
    "%Y%m%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %I:%M:%S %p",
)  # fmt: skip
STARTS = ("2024-02-27", "2024-03-29", "2024-10-25", "1999-12-30", "2038-01-17", "1969-12-30", "2016-05-09")


@dataclass
class Raw:
    """A click before it is written down."""

    session: str
    user: str
    item: str
    time: int
    since: int
    event: str


def raw_clicks(w: Choices, log: Log) -> list[Raw]:
    """Sessions of users over some days, with ties in time; mostly in order of time."""
    count = w.random.choice((5, 20, 40, 70, 100, 150, 200))
    items = ids(
        w, w.random.randrange(3, 13), w.random.choices(("small", "wide", "zeros", "text", "mixed"), (5, 2, 1, 3, 1))[0]
    )
    users, sessions = ids(w, w.random.randrange(2, 4 + count // 8), "text"), w.random.randrange(2, 6 + count // 3)
    names = ids(w, sessions, w.one("small", "wide", "text", "zeros"))
    start = (datetime.fromisoformat(w.one(*STARTS)).replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
    span, grain = w.hours * 3600, w.one(1, 60, 600)
    starts = [start + w.random.randrange(span) for _ in range(sessions)]
    owners = [w.one(*users) for _ in range(sessions)]
    if log.session is not None and log.user is not None:
        names = [w.one(*names[:3]) for _ in range(sessions)]  # numbers that each user has
    events = [*log.events, "view", "cart", "buy", ""] if log.event else [""]
    clicks = []
    for number in range(count):
        which = number % sessions if number < sessions else w.random.randrange(sessions)
        since = w.random.randrange(w.one(60, 1800, 7200)) // grain * grain
        fraction = w.random.randrange(10**6) if w.chance(0.2) else 0
        time = (starts[which] + since) * 10**6 + fraction
        item = items[min(w.random.randrange(len(items)), w.random.randrange(len(items)))]
        event = w.one(*log.events) if log.events and (number < 2 or w.chance(0.7)) else w.one(*events)
        clicks.append(Raw(names[which], owners[which], item, time, since * 1000, event))
    clicks.sort(key=lambda click: click.time)
    w.first, w.middle, w.last = (clicks[place].time for place in (0, len(clicks) * 3 // 4, -1))
    if w.chance(0.3):
        w.random.shuffle(clicks)
    if w.mess(0.5):
        for click in w.random.sample(clicks, max(1, count // 20)):
            if w.chance(0.5):
                click.item = w.one(*JUNK_ITEMS)
            else:
                setattr(click, w.one("session", "user", "item"), "")
    if w.mess(0.4):
        for click in w.random.sample(clicks, max(1, count // 10)):
            clicks.insert(w.random.randrange(len(clicks)), replace(click))
    return clicks


def ids(w: Choices, count: int, kind: str) -> list[str]:
    if kind == "small":
        return [str(number * 7 - 14) for number in range(count)]
    if kind == "wide":
        return [str(2**63 - 1 - 3 * number) for number in range(count)]
    if kind == "zeros":
        return [f"{number:07}" for number in range(count)]
    texts = [f"{w.one(*LETTERS)}{number}" for number in range(count)]
    return texts if kind == "text" else [str(number) if number % 2 else text for number, text in enumerate(texts)]


def one_form(w: Choices, log: Log, zone: ZoneInfo) -> Callable[[int], str]:
    """All alike."""
    form = log.time_format or w.one(*ISO_FORMS)
    junk = JUNK_TIMES if log.time_format is None else JUNK_TIMES[:10]
    known = UTC if form.endswith(("UTC", "Z")) else zone
    return lambda time: w.one(*junk) if w.mess(0.01) else date(time, known).strftime(form)


def date(time: int, zone: Any) -> datetime:
    return (EPOCH + timedelta(microseconds=time)).astimezone(zone)


def any_form(w: Choices, log: Log, zone: ZoneInfo) -> Callable[[int], str]:
    """Each its own of those that are accepted."""

    def number(time: int) -> str:
        if w.mess(0.01):
            return str(w.one(*JUNK_NUMBERS))
        if log.unit == "nanoseconds":
            return f"{time}{w.random.randrange(1000):03}"
        text = str(time // UNITS[log.unit])
        if w.chance(0.2) and time > 0:
            text += f".{w.random.randrange(10 ** w.one(1, 3, 6, 9))}"
        return f" {text} " if w.chance(0.05) else text

    def iso(time: int) -> str:
        if w.mess(0.02):
            return str(w.one(*JUNK_TIMES))
        stated = w.chance(0.5)
        clock = date(time, timezone_of(w) if stated else zone)
        day = clock.strftime(w.one("%Y-%m-%d", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"))
        if not stated and w.chance(0.1):
            return day
        hours = clock.strftime(
            w.one("%H:%M:%S", "%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M%p", "%H:%M:%S.%f", "%H:%M:%S.%f7")
        )
        text = f"{day}{w.one(' ', 'T', '  ')}{hours}"
        if stated:
            offset = clock.strftime("%z")
            forms = [offset, f"{offset[:3]}:{offset[3:]}", f" {offset}"]
            forms += [offset[:3]] if offset.endswith("00") else []
            forms += ["Z", " UTC", " GMT", " Z"] if offset == "+0000" else []
            text += w.one(*forms)
        return f" {text} " if w.chance(0.05) else text

    return iso if log.unit == "iso" else number


def timezone_of(w: Choices) -> Any:
    return w.one(UTC, UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo"))
