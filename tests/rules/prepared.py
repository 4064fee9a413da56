"""The rules of `prepare logs`, four: from rows to the data set, click by click."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import compress, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.rules.log import Log, Refused, Rules, duration
from tests.rules.rows import Row, rows_of
from tests.rules.times import EPOCH, microseconds, since_1970

OTHER_EVENT, BEFORE, AFTER = "another event", "before --from", "at --until or later"
Step = tuple[str, int, int, int]


@dataclass(frozen=True)
class Click:
    owner: tuple[str | None, ...]
    item: str
    time: int
    place: int  # by which clicks of a session are in order
    row: int


@dataclass
class Session:
    clicks: list[Click]
    date: int
    first: int

    def with_clicks(self, clicks: list[Click]) -> Session:
        return replace(self, clicks=clicks)


@dataclass
class Prepared:
    """By raw ids."""

    train: list[list[str]] = field(default_factory=list)
    test: list[list[str]] = field(default_factory=list)
    raw_test: list[list[str]] = field(default_factory=list)
    train_times: list[int] = field(default_factory=list)  # sessions' dates, in seconds
    test_times: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # in the order of the items' rows
    integers: bool = False
    bad: Counter[str] = field(default_factory=Counter)
    steps: list[Step] = field(default_factory=list)
    cut: tuple[int, int] | None = None  # sessions and clicks, by --max-session-clicks
    warnings: set[str] = field(default_factory=set)
    split: int = 0
    times: tuple[str, str] = ("", "")  # of the first click and the last


def prepare(paths: Sequence[Path], log: Log, rules: Rules) -> Prepared:
    """The data set, or Refused."""
    check_options(rules)
    rows = rows_of(paths, log)
    if log.event is not None:
        found = {(row.values[log.event] or "").strip(" ") for row in rows if row.fault is None}
        if found and not set(log.events) <= found:
            raise Refused("event")
    clicks, bad = clicks_of(rows, log, rules)
    others = [click for click in clicks if not is_integer(click.item)]
    told = Counter({f"{log.item} is no integer": len(others)}) if others else Counter[str]()
    if rules.item_ids == "integer":
        clicks, bad = [click for click in clicks if is_integer(click.item)], bad + told
    if sum(count for reason, count in bad.items() if reason not in (OTHER_EVENT, BEFORE, AFTER)) > rules.max_bad_rows:
        raise Refused("bad rows")
    merged = log.session is not None and log.user is None
    if rules.item_ids != "auto":
        return with_clicks(clicks, rules, bad, rules.item_ids == "integer", merged)
    prepared = with_clicks(clicks, rules, bad, integers=False, could_be_merged=merged)
    if not all(is_integer(item) for item in prepared.counts):
        return prepared
    fitting = [click for click in clicks if is_integer(click.item)]
    return with_clicks(fitting, rules, bad + told, integers=True, could_be_merged=merged)


def check_options(rules: Rules) -> None:
    """What says nothing together is refused."""
    most, last = rules.max_session_clicks or 10**9, rules.maximum_length or 10**9
    first, end, split = (
        None if text is None else instant(text, rules) for text in (rules.from_time, rules.until_time, rules.test_from)
    )
    wrong = [
        min(most, last) < rules.minimum_length,
        last >= most and max(last, most) < 10**9,
        first is not None and end is not None and first >= end,
        split is not None and first is not None and split <= first,
        split is not None and end is not None and split >= end,
    ]
    if any(wrong):
        raise Refused("options")


def is_integer(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def clicks_of(rows: Sequence[Row], log: Log, rules: Rules) -> tuple[list[Click], Counter[str]]:
    zone = ZoneInfo(rules.time_zone)
    first, end = (None if text is None else instant(text, rules) for text in (rules.from_time, rules.until_time))
    clicks, bad = list[Click](), Counter[str]()
    for number, row in enumerate(rows):
        if row.fault is not None:
            bad[row.fault] += 1
            continue
        value = row.values
        if log.event is not None and (value[log.event] or "").strip(" ") not in log.events:
            bad[OTHER_EVENT] += 1
            continue
        owners = [name for name in (log.session, log.user) if name is not None]
        missing = next((name for name in (*owners, log.item, log.time) if not value[name]), None)
        if missing is not None:
            bad[f"no {missing}"] += 1
            continue
        item, text = value[log.item], value[log.time]
        assert item is not None
        assert text is not None
        time = place = microseconds(text, log, zone)
        if log.since_start is not None:
            since = value[log.since_start] or ""
            place = int(since) if re.fullmatch(r"-?[0-9]{1,18}", since) else None
        if time is None or place is None:
            bad[f"{log.time if time is None else log.since_start} cannot be read"] += 1
            continue
        if (first is not None and time < first) or (end is not None and time >= end):
            bad[BEFORE if first is not None and time < first else AFTER] += 1
            continue
        clicks.append(Click(tuple(value[name] for name in owners), item, time, place, number))
    return clicks, bad


def sessions_of(clicks: Sequence[Click], rules: Rules) -> list[Session]:
    """In the order of dates, equal ones in that of their first rows; clicks in order."""
    groups = list[list[Click]]()
    owners = dict[tuple[str | None, ...], list[Click]]()
    for click in clicks:
        owners.setdefault(click.owner, []).append(click)
    for own in owners.values():
        if rules.sessions == "given":
            groups.append(own)
            continue
        in_time = sorted(own, key=lambda click: (click.time, click.row))
        groups.append(in_time[:1])
        for before, click in pairwise(in_time):
            if ends_between(before, click, rules):
                groups.append([])
            groups[-1].append(click)
    sessions = []
    for group in groups:
        latest = max(click.time for click in group)
        if rules.date == "last row":
            latest = max(group, key=lambda click: click.row).time
        unit = duration(rules.date_unit) or 1
        ordered = sorted(group, key=lambda click: (click.place if rules.order == "time" else 0, click.row))
        sessions.append(Session(ordered, latest // unit * unit, min(click.row for click in group)))
    return sorted(sessions, key=lambda session: (session.date, session.first))


def ends_between(before: Click, click: Click, rules: Rules) -> bool:
    if rules.sessions == "gap":
        return click.time - before.time > duration(rules.gap)
    zone = ZoneInfo(rules.time_zone)
    return day_of(before.time, zone) != day_of(click.time, zone)


def day_of(time: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(time // 10**6, UTC).astimezone(zone).date()


def with_clicks(
    clicks: Sequence[Click], rules: Rules, bad: Counter[str], integers: bool, could_be_merged: bool
) -> Prepared:
    made = Prepared(bad=bad, integers=integers)

    def step(what: str, sessions: Sequence[Session], option: str | None = None) -> None:
        made.steps.append(step_of(what, [[click.item for click in session.clicks] for session in sessions]))
        if option is not None and not sessions:
            raise Refused(option)

    def long(sessions: Sequence[Session]) -> list[Session]:
        return [session for session in sessions if len(session.clicks) >= rules.minimum_length]

    def supported(sessions: list[Session]) -> list[Session]:
        while True:
            before = sum(len(session.clicks) for session in sessions)
            count = Counter(click.item for session in sessions for click in session.clicks)
            kept = [
                session.with_clicks([click for click in session.clicks if count[click.item] >= rules.minimum_support])
                for session in sessions
            ]
            sessions = long(kept)
            step(f"items of {rules.minimum_support} clicks or more", sessions, "--minimum-support")
            if not rules.until_stable or sum(len(session.clicks) for session in sessions) == before:
                return sessions

    sessions = sessions_of(clicks, rules)
    if could_be_merged and looks_merged(sessions):
        made.warnings.add("merged")
    step("clicks of the log", sessions, "no clicks")
    made.times = shown(min(click.time for click in clicks), rules), shown(max(click.time for click in clicks), rules)
    if rules.collapse_repeats:
        sessions = [session.with_clicks(without_repeats(session.clicks)) for session in sessions]
        step("without repeats", sessions)
    if rules.max_session_clicks is not None:
        most = rules.max_session_clicks
        cut = [len(session.clicks) - most for session in sessions if len(session.clicks) > most]
        made.cut = len(cut), sum(cut)
        sessions = [session.with_clicks(session.clicks[-most:]) for session in sessions]
        step(f"last {most} clicks of sessions", sessions)
    sessions = long(sessions)
    step(f"sessions of {rules.minimum_length} clicks or more", sessions, "--minimum-length")
    if rules.support_from == "all":
        sessions = supported(sessions)
    split = max(session.date for session in sessions) - duration(rules.test)
    if rules.test_from is not None:
        split = instant(rules.test_from, rules)
    made.split = split
    train = [session for session in sessions if session.date < split]
    test = [session for session in sessions if session.date >= split + (rules.boundary == "lost")]
    step("test sessions", test)
    step("training sessions", train, "--test")
    if not 0.01 <= len(test) / (len(train) + len(test)) <= 0.5:
        made.warnings.add("split")
    if rules.support_from == "train":
        train = supported(train)
    last = rules.maximum_length or 10**9
    made.train = [[click.item for click in session.clicks][-last:] for session in train]
    made.raw_test = [[click.item for click in session.clicks][-last:] for session in test]
    if rules.maximum_length:
        made.steps.append(step_of(f"last {last} clicks of training sessions", made.train))
    made.train_times, made.test_times = ([session.date // 10**6 for session in part] for part in (train, test))
    known = dict.fromkeys(item for items in made.train for item in items)
    if rules.fraction > 1:
        made.train = last_examples(made.train, rules.fraction)
        made.train_times = made.train_times[len(made.train_times) - len(made.train) :]
        made.steps.append(step_of(f"last 1/{rules.fraction} of the training examples", made.train))
        if not made.train:
            raise Refused("--fraction")
    count = Counter(item for items in made.train for item in items)
    made.counts = {item: count[item] for item in known if count[item] or rules.catalogue == "all"}
    if rules.catalogue == "kept":
        made.counts = dict(sorted(made.counts.items(), key=lambda pair: first_place(pair[0], made.train)))
    if rules.cold_items == "drop":
        made.test = [[item for item in items if item in made.counts] for items in made.raw_test]
        long_enough = [len(items) >= rules.minimum_length for items in made.test]
        made.test = list(compress(made.test, long_enough))
        made.test_times = list(compress(made.test_times, long_enough))
        made.steps.append(step_of("test sessions without cold items", made.test))
    else:
        made.test = [[item if item in made.counts else "" for item in items] for items in made.raw_test]
    return made


def first_place(item: str, sessions: Sequence[Sequence[str]]) -> int:
    return [one for items in sessions for one in items].index(item)


def looks_merged(sessions: Sequence[Session]) -> bool:
    """As where ids of sessions are unique only with the user's."""
    spans = [max(click.time for click in s.clicks) - min(click.time for click in s.clicks) for s in sessions]
    return bool(sessions) and (
        max(len(s.clicks) for s in sessions) > 1000 or 2 * sum(span > duration("1d") for span in spans) > len(sessions)
    )


def step_of(what: str, sessions: Sequence[Sequence[str]]) -> Step:
    items = {item for session in sessions for item in session}
    return what, sum(map(len, sessions)), len(sessions), len(items)


def without_repeats(clicks: list[Click]) -> list[Click]:
    return clicks[:1] + [click for before, click in pairwise(clicks) if before.item != click.item]


def last_examples(sessions: list[list[str]], fraction: int) -> list[list[str]]:
    """A session of n clicks has n - 1 examples, the longest prefix first: the last ones are its shortest.

    What is kept goes on from an example to the end, sessions of one click too.
    """
    examples = [(number, end) for number, items in enumerate(sessions) for end in range(len(items), 1, -1)]
    kept = len(examples) // fraction
    if not kept:
        return []
    first, end = examples[-kept]
    return [sessions[first][:end], *sessions[first + 1 :]]


def shown(time: int, rules: Rules) -> str:
    date = datetime.fromtimestamp(time // 10**6, UTC).astimezone(ZoneInfo(rules.time_zone))
    return date.strftime("%Y-%m-%d %H:%M:%S")


def instant(text: str, rules: Rules) -> int:
    """Of an ISO date, in the time zone where it states none."""
    time = datetime.fromisoformat(text)
    return since_1970(time if time.tzinfo else time.replace(tzinfo=ZoneInfo(rules.time_zone)))


__all__ = ["EPOCH", "Prepared", "prepare"]
