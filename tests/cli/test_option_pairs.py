"""Options of `prepare logs` one by one, held against plain Python, and every pair of them: both are obeyed, or refused.

An option that changes nothing beside another would be ignored. Whether one does is for generated logs to tell: for
each pair, the data set must be another than with either option alone, on one of the logs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tagnn_fast.data import read_dataset
from tagnn_fast.logs import FORMATS, LogFormat, PrepareOptions
from tagnn_fast.logs.arguments import log_format, prepare_options
from tests.cli.commands import succeed
from tests.logs.by_hand import Click, is_integer, made_by_hand, read_clicks
from tests.logs.running import raw

Given = Mapping[str, Any]
Key = tuple[tuple[str, Any], ...]
SESSIONS: Given = {"session": "session", "item": "item", "time": "time"}
USERS: Given = {**SESSIONS, "user": "user"}
BASES: dict[str, Given] = {
    "sessions": SESSIONS,
    "sessions of users": USERS,
    "users": {name: column for name, column in USERS.items() if name != "session"},
}
BASES |= {f"{name}, paper": {**base, "preset": "paper"} for name, base in BASES.items() if name != "sessions of users"}
SECONDS: Given = {"time": "seconds", "time_unit": "seconds"}
CLOCK: Given = {"time": "clock", "time_format": "%d/%m/%Y %H:%M"}
ZONE: Given = {"time_zone": "Asia/Tokyo"}
OPTIONS: tuple[Given, ...] = (
    {"user": "user"},
    {"item": "other"},
    {"event": "event", "events": "view"},
    SECONDS,
    CLOCK,
    {"preset": "paper"},
    {"sessions": "day"},
    {"gap": "3h"},
    ZONE,
    {"from_time": "2024-05-03"},
    {"until_time": "2024-05-07T06:00"},
    {"order": "file"},
    {"collapse_repeats": True},
    {"max_session_clicks": 4},
    {"minimum_length": 3},
    {"minimum_length": 1},
    {"minimum_support": 7},
    {"minimum_support": 1},
    {"until_stable": True},
    {"support_from": "all"},
    {"support_from": "train"},
    {"test": "2d"},
    {"test_from": "2024-05-04T06:00"},
    {"maximum_length": 3},
    {"fraction": 3},
    {"cold_items": "keep"},
    {"item_ids": "string"},
)
# Seconds are of no zone, and times of which none states its zone are all moved alike: the zone then is that of the
# clicks that are kept, of days, of --from, --until and --test-from, and of the times that are reported.
ONLY_TIMES = ((SECONDS, ZONE), (CLOCK, ZONE))
NAMES = {"from_time": "--from", "until_time": "--until"}


def write_log(path: Path, seed: int) -> Path:
    """A week of 120 sessions, some with the id of another user's, where each rule finds something to do."""
    random, start = Random(seed), datetime(2024, 5, 1)

    def item(time: datetime) -> str:
        if time > start + timedelta(days=5, hours=20) and random.random() < 0.25:
            return str(random.randrange(60, 63))  # new ones
        kind = random.random()
        if kind < 0.9:
            return str(random.randrange(1, 7) if kind < 0.3 else random.randrange(7, 60))
        return f"x{random.randrange(40)}" if seed % 2 else str(random.randrange(63, 100))

    rows = []
    for number in range(120):
        user, time = random.randrange(18), start + timedelta(hours=random.randrange(160))
        items, others = list[str](), list[str]()
        for _ in range(random.choice([1, 2, 2, 3, 3, 4, 5, 6, 8])):
            for drawn in (items, others):
                drawn.append(drawn[-1] if drawn and random.random() < 0.2 else item(time))
            second, third = (time + timedelta(minutes=30 * random.randrange(-5, 6)) for _ in range(2))
            columns = (
                number if number % 3 else number % 15,
                f"u{user}",
                items[-1],
                others[-1],
                f"{time}{'Z' if random.random() < 0.3 else ''}",
                (second - datetime(1970, 1, 1)) // timedelta(seconds=1),
                f"{third:%d/%m/%Y %H:%M}",
                random.choice(["view", "view", "view", "cart", "cart"]),
            )
            rows.append((time, ",".join(map(str, columns))))
            time += timedelta(minutes=random.choice([0, 0, 20, 30, 60, 120]))
    lines = [line for _, line in sorted(rows, key=lambda row: row[0])]
    for _ in range(len(lines) // 3):  # late ones
        place = random.randrange(len(lines) - 4)
        late = place + random.randrange(1, 4)
        lines[place], lines[late] = lines[late], lines[place]
    for day in (6, 7):  # a session exactly at the split
        time = datetime(2024, 5, day, 20)
        seconds = (time - datetime(1970, 1, 1)) // timedelta(seconds=1)
        lines += [f"{day}00,u{day}00,{item},{item},{time},{seconds},{time:%d/%m/%Y %H:%M},view" for item in (1, 2)]
    path.write_text("\n".join(["session,user,item,other,time,seconds,clock,event", *lines, ""]))
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("logs")
    return [write_log(folder / f"{seed}.csv", seed) for seed in range(8)]


def read(given: Given) -> tuple[LogFormat, PrepareOptions]:
    """What the command makes of its options."""
    form = log_format(dict(given))
    options = {name: value for name, value in given.items() if name != "preset"}
    return form, prepare_options(form, given.get("preset", "clean"), options)


def by_hand(log: Path, given: Given) -> tuple[bool, list[list[str]], list[list[str]], list[list[str]]]:
    """Whether ids are integers, and the sessions of both splits, of the test before cold items went too."""
    form, options = read(given)
    return _by_hand(log, _key(form), options)


def _key(form: LogFormat) -> Key:
    return tuple((name, value) for name, value in vars(form).items() if name not in ("aliases", "published"))


@cache
def _by_hand(log: Path, form: Key, options: PrepareOptions) -> Any:
    reading = PrepareOptions(time_zone=options.time_zone, from_time=options.from_time, until_time=options.until_time)
    made = made_by_hand(_clicks(log, form, reading), Counter(), LogFormat(**dict(form)), options)
    integers = options.item_ids != "string" and all(map(is_integer, itertools.chain.from_iterable(made.train)))
    return integers, made.train, made.test, made.raw_test


@cache
def _clicks(log: Path, form: Key, options: PrepareOptions) -> list[Click]:
    return read_clicks([log], LogFormat(**dict(form)), options)[0]


def pairs() -> Iterator[tuple[Given, Given, Given]]:
    """Base and two options that can be given together, of which neither only says what holds anyway."""
    for base in BASES.values():
        options = [option for option in OPTIONS if option.items() - base.items() and not says_nothing(base, option)]
        for one, other in itertools.combinations(options, 2):
            if not set(one) & set(other) and not says_nothing({**base, **one}, other):
                yield base, one, other


def says_nothing(base: Given, option: Given) -> bool:
    """Whether it is what the base has, as its default or by its preset."""
    try:
        return read({**base, **option}) == read(base)
    except ValueError:
        return False


def is_refused(given: Given) -> bool:
    try:
        read(given)
    except ValueError:
        return True
    return False


def test_every_pair_is_obeyed_or_refused(logs: list[Path]) -> None:
    left = [(base, one, other) for base, one, other in pairs() if not is_refused({**base, **one, **other})]
    assert len(left) > 1000
    for log in logs:
        left = [pair for pair in left if ignores_one(log, *pair)]
    assert {(str(one), str(other)) for _, one, other in left} == {(str(one), str(other)) for one, other in ONLY_TIMES}


def ignores_one(log: Path, base: Given, one: Given, other: Given) -> bool:
    return by_hand(log, {**base, **one, **other}) in (by_hand(log, {**base, **one}), by_hand(log, {**base, **other}))


# Of those that read rows the same way, one base is enough.
ALONE = [
    *(("sessions", option) for option in OPTIONS if not {"sessions", "gap"} & set(option)),
    ("sessions", {"event": "event", "events": "cart"}),
    ("sessions of users", {"collapse_repeats": True}),
    *(("users", option) for option in ({"sessions": "day"}, {"sessions": "day", **ZONE}, {"gap": "3h"})),
    *(
        ("sessions, paper", option)
        for option in ({"test_from": "2024-05-04T06:00"}, {"support_from": "train"}, {"cold_items": "keep"})
    ),
    *(("sessions, paper", option) for option in ({"test": "2d"}, {"fraction": 3})),
]


@pytest.mark.parametrize(("base", "option"), ALONE)
def test_option_gives_what_the_rules_give(base: str, option: Given, logs: list[Path], tmp_path: Path) -> None:
    """The right data set, which is another than without it."""
    given = {**BASES[base], **option}
    log = logs[0]
    succeed("prepare", "logs", log, tmp_path / "data", *arguments(given))
    dataset = read_dataset(tmp_path / "data")
    assert dataset.raw_test is not None
    integers, train, test, raw_test = by_hand(log, given)
    known = {str(item) for item in dataset.vocabulary.raw_ids.to_pylist()}
    assert dataset.vocabulary.integers == integers
    assert raw(dataset.train, dataset) == train
    assert raw(dataset.test, dataset) == [[item if item in known else "" for item in items] for items in test]
    assert [[str(item) for item in items] for items in dataset.raw_test.to_pylist()] == raw_test
    assert says_nothing(BASES[base], option) or by_hand(log, BASES[base]) != by_hand(log, given)


def arguments(given: Given) -> Iterator[object]:
    for name, value in given.items():
        yield NAMES.get(name, "--" + name.replace("_", "-"))
        if value is not True:
            yield value


COLUMNS: tuple[Given, ...] = (
    {"session": "s"},
    {"user": "u"},
    {"item": "i"},
    {"time": "t"},
    {"time_unit": "nanoseconds"},
    {"time_format": "%Y%m%d"},
    {"event": "e", "events": "v"},
    {"separator": "|"},
    {"quote": "'"},
    {"columns": "s,u,i,t,e"},
    {"encoding": "latin-1"},
)


@pytest.mark.parametrize("name", FORMATS)
def test_every_pair_changes_a_format(name: str) -> None:
    """Or is refused."""
    for one, other in itertools.combinations(COLUMNS, 2):
        try:
            both = log_format({"format": name, **one, **other})
        except ValueError as error:
            assert str(error) == "expected --time-unit or --time-format, got both"  # noqa: PT017
            continue
        assert both not in (log_format({"format": name, **option}) for option in (one, other))
