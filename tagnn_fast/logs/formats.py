"""What click logs look like: the field's own, and any other by the names of its columns."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tagnn_fast.logs.content import ERRORS
from tagnn_fast.logs.time_formats import TimeFormat

TimeUnit = Literal["iso", "seconds", "milliseconds", "microseconds", "nanoseconds"]
TIMES = get_args(TimeUnit)
FormatName = Literal[
    "yoochoose",
    "diginetica",
    "retailrocket",
    "tmall",
    "nowplaying",
    "lastfm",
    "otto",
    "30music",
    "recbole",
    "rectools",
    "session-rec",
]


@dataclass(frozen=True)
class LogFormat:
    """Where things are in a log with a row per click.

    Attributes:
        name: what it is called.
        owner: column with what a session belongs to: its own id, or a user.
        user: column with the user, where the ids in `owner` tell sessions apart only together with it.
        owner_is_user: whether it is a user, whose clicks are yet to be cut into sessions.
        item: column with the item's id.
        time: column with the click's time.
        time_unit: "iso", a date or a date and a time; or "seconds", "milliseconds", "microseconds" or "nanoseconds"
            since 1970, in UTC. A date is YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD; behind a T or blanks may come HH:MM,
            HH:MM:SS or HH:MM:SS and a fraction of up to nine digits, of 24 hours or of 12 with AM or PM; behind that,
            Z, UTC, GMT, +HH, +HHMM or +HH:MM, up to 17:59, or the same with a minus. Seconds are 0 to 59, hours 0 to
            23. A number may have a minus and a fraction, but no exponent. Times are from 1900 to 2199; blanks around
            them are ignored, and what is below a microsecond is dropped.
        time_format: of times in `strftime`'s letters instead, see :class:`TimeFormat`.
        since_start: column with the milliseconds since the session began, where `time` does not say in which order its
            clicks were.
        event: column with the kind of event, where rows are not all clicks.
        events: kinds that count as clicks; blanks around them are ignored.
        separator: between the columns of a text file; 1 to 4 bytes, such as "::".
        encoding: of text files, such as "utf-8", "latin-1", "cp1252" or "utf-16".
        aliases: other names that columns go by, and those that they are known by here.
        quote: around values that hold a separator; empty where no value is quoted.
        columns: names of the columns where the file has no header.
        published: what the published preprocessing of this log does, beyond what it does with all: options that
            ``--preset published`` sets.

    Which files are read, what of them, and which of their rows are bad, is said at :func:`tagnn_fast.logs.find_files`.
    In JSON lines columns are names that lead into objects, such as "user.id" or "events.aid".
    """

    name: str
    owner: str
    item: str
    time: str
    owner_is_user: bool = False
    user: str | None = None
    time_unit: TimeUnit = "iso"
    time_format: str | None = None
    since_start: str | None = None
    event: str | None = None
    events: tuple[str, ...] = ()
    separator: str = ","
    quote: str = '"'
    columns: tuple[str, ...] = ()
    encoding: str = "utf-8"
    aliases: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.time_unit not in TIMES:
            raise ValueError(f"time_unit: expected one of {', '.join(TIMES)}, got {self.time_unit!r}")
        if self.time_format is not None:
            if self.time_unit != "iso":
                raise ValueError(f"time_format: expected no time_unit beside it, got {self.time_unit!r}")
            TimeFormat(self.time_format)
        if self.since_start is not None and self.owner_is_user:
            raise ValueError(f"since_start: expected none where the owner is a user, got {self.since_start!r}")
        if self.user is not None and self.owner_is_user:
            raise ValueError(f"user: expected none where the owner is a user, got {self.user!r}")
        if not 1 <= len(self.separator.encode(errors="replace")) <= 4 or set(self.separator) & {"\r", "\n", "\0"}:
            raise ValueError(f"separator: expected a character or up to 4 bytes of some, got {self.separator!r}")
        if len(self.quote) > 1 or not self.quote.isascii() or (self.quote and self.quote in self.separator + "\r\n"):
            raise ValueError(f"quote: expected one ASCII character other than the separator, got {self.quote!r}")

        try:
            found = codecs.lookup(self.encoding)
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)(ERRORS).decode(b"a", final=True)
        except (LookupError, ValueError):
            raise ValueError(f"encoding: expected a name like utf-8 or latin-1, got {self.encoding!r}") from None
        object.__setattr__(self, "encoding", found.name)

    def used_columns(self) -> tuple[str, ...]:
        """Names of the columns that are read, each once."""
        named = (self.owner, self.user, self.item, self.time, self.since_start, self.event)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def meant(self, names: Iterable[str]) -> tuple[str, ...]:
        """What columns of these names are known by here; blanks around a name are ignored."""
        return tuple(self.aliases.get(name, name) for name in map(str.strip, names))


_SESSION_ITEM_TIME: dict[str, Any] = {"owner": "SessionId", "item": "ItemId", "time": "Time", "separator": "\t"}

FORMATS = {
    form.name: form
    for form in (
        LogFormat(
            "yoochoose",
            owner="session",
            item="item",
            time="time",
            columns=("session", "time", "item", "category"),
            published={"test": "1d", "order": "file", "date_unit": "1s"},
        ),
        LogFormat(
            "diginetica",
            owner="session_id",
            item="item_id",
            time="eventdate",
            since_start="timeframe",
            separator=";",
            aliases={"sessionId": "session_id", "userId": "user_id", "itemId": "item_id"},
            published={"test": "7d", "date": "last row"},
        ),
        LogFormat(
            "retailrocket",
            owner="visitorid",
            owner_is_user=True,
            item="itemid",
            time="timestamp",
            time_unit="milliseconds",
            event="event",
            events=("view",),
        ),
        LogFormat("tmall", **_SESSION_ITEM_TIME, time_unit="seconds"),
        LogFormat("nowplaying", **_SESSION_ITEM_TIME, time_unit="seconds"),
        LogFormat(
            "lastfm",
            owner="user",
            owner_is_user=True,
            item="artist_name",
            time="time",
            separator="\t",
            quote="",
            columns=("user", "time", "artist_id", "artist_name", "track_id", "track_name"),
        ),
        LogFormat(
            "otto",
            owner="session",
            item="events.aid",
            time="events.ts",
            time_unit="milliseconds",
            event="events.type",
            events=("clicks",),
        ),
        LogFormat("30music", owner="id", item="objects.id", time="timestamp", time_unit="seconds"),
        LogFormat(
            "recbole",
            owner="session_id:token",
            item="item_id:token",
            time="timestamp:float",
            time_unit="seconds",
            separator="\t",
        ),
        LogFormat("rectools", owner="user_id", item="item_id", time="datetime"),
        LogFormat("session-rec", **_SESSION_ITEM_TIME, time_unit="seconds"),
    )
}
