"""The rules of `prepare logs`, one: what a log and the options say. The project's own classes are not used here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):  # noqa: N818 - an outcome
    """The command must end with an error: the text says of which kind."""


@dataclass
class Log:
    """What the files look like."""

    item: str
    time: str
    session: str | None = None
    user: str | None = None
    unit: str = "iso"
    time_format: str | None = None
    since_start: str | None = None
    event: str | None = None
    events: tuple[str, ...] = ()
    separator: str = ","
    quote: str = '"'
    columns: tuple[str, ...] = ()
    encoding: str = "utf-8"
    aliases: Mapping[str, str] = field(default_factory=dict)

    def used(self) -> list[str]:
        names = (self.session, self.user, self.item, self.time, self.since_start, self.event)
        return list(dict.fromkeys(name for name in names if name is not None))


@dataclass
class Rules:
    """What is done with the clicks; the defaults are those that `--help` and the README give."""

    sessions: str = "given"
    gap: str = "30m"
    time_zone: str = "UTC"
    order: str = "time"
    date: str = "latest"
    date_unit: str = "0s"
    collapse_repeats: bool = False
    minimum_length: int = 2
    minimum_support: int = 5
    until_stable: bool = False
    support_from: str = "train"
    test: str = "1d"
    test_from: str | None = None
    boundary: str = "test"
    max_session_clicks: int | None = None
    maximum_length: int | None = None
    fraction: int = 1
    catalogue: str = "kept"
    cold_items: str = "drop"
    item_ids: str = "auto"
    from_time: str | None = None
    until_time: str | None = None
    max_bad_rows: int = 0


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> int:
    """Microseconds of 30m, 8h, 7d."""
    return int(text[:-1]) * SECONDS[text[-1]] * 10**6


_TABS: dict[str, Any] = {"separator": "\t"}
# What the logs of these names look like, by the data sets' own descriptions.
NAMED = {
    "yoochoose": Log(session="session", item="item", time="time", columns=("session", "time", "item", "category")),
    "diginetica": Log(
        session="session_id", item="item_id", time="eventdate", since_start="timeframe", separator=";",
        aliases={"sessionId": "session_id", "userId": "user_id", "itemId": "item_id"},
    ),
    "retailrocket": Log(
        user="visitorid", item="itemid", time="timestamp", unit="milliseconds", event="event", events=("view",)
    ),
    "tmall": Log(session="SessionId", item="ItemId", time="Time", unit="seconds", **_TABS),
    "lastfm": Log(
        user="user", item="artist_name", time="time", quote="",
        columns=("user", "time", "artist_id", "artist_name", "track_id", "track_name"), **_TABS,
    ),
    "otto": Log(
        session="session", item="events.aid", time="events.ts", unit="milliseconds", event="events.type",
        events=("clicks",),
    ),
}  # fmt: skip
# --preset paper: the published preprocessing.
PAPER: dict[str, Any] = {"support_from": "all", "boundary": "lost", "catalogue": "all"}
PAPER_OF: dict[str, dict[str, Any]] = {
    "yoochoose": {"test": "1d", "order": "file", "date_unit": "1s"},
    "diginetica": {"test": "7d", "date": "last row"},
}
