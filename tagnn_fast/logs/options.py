"""What is done with the clicks of a log."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tagnn_fast.checks import check_count, check_flag, check_text

MICROSECONDS = {"s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
SessionsBy = Literal["given", "gap", "day"]
Order = Literal["time", "file"]
Date = Literal["latest", "last row"]
SupportFrom = Literal["train", "all"]
Boundary = Literal["test", "lost"]
ColdItems = Literal["drop", "keep"]
Catalogue = Literal["kept", "all"]
When = str | date  # ISO, or a datetime
IdType = Literal["auto", "integer", "string"]
_MOST = 2**62  # that engines can count to
_CHOICES = {
    "sessions": SessionsBy,
    "order": Order,
    "date": Date,
    "support_from": SupportFrom,
    "boundary": Boundary,
    "cold_items": ColdItems,
    "catalogue": Catalogue,
    "item_ids": IdType,
}


def duration(text: str) -> int:
    """Microseconds of a duration such as 90s, 30m, 8h or 7d.

    Raises:
        ValueError: on anything else.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise ValueError(f"expected a duration like 90s, 30m, 8h or 7d, got {text!r}")
    return int(found.group(1)) * MICROSECONDS[found.group(2)]


@dataclass(frozen=True)
class PrepareOptions:
    """How sessions are made of clicks, filtered and split. The defaults are the field's rules without their faults.

    Attributes:
        sessions: "given", the log says which session a click is of; "gap", a user's session ends where the next click
            is more than `gap` later; "day", a user's clicks of a calendar day in `time_zone`.
        gap: such a duration.
        time_zone: of times that do not state one, of days, and of the times that are reported. What a clock shows
            twice, when it is put back, is the earlier of the two; what it leaves out, when it is put forward, counts on
            from before.
        from_time: clicks before this are left out, an ISO date or time or one of Python's, in `time_zone` if it states
            none.
        until_time: clicks at this or later are left out.
        order: of a session's clicks: by "time", clicks at the same time as in the file; or as in the "file".
        date: of a session, by which sessions are put in order and split: the "latest" time of its clicks, or that of
            its "last row" in the log. Sessions of the same date are in the order of their first rows.
        date_unit: dates are cut down to this.
        collapse_repeats: a click on the same item as the one before is dropped.
        max_session_clicks: of longer sessions, only the last clicks are kept, in both splits, before anything is
            counted: what robots click is not what an item's support should come from. After `collapse_repeats`.
        minimum_length: sessions of fewer clicks are dropped.
        minimum_support: items of fewer clicks are dropped.
        until_stable: whether both are repeated until nothing changes.
        support_from: which clicks are counted: those of the "train" sessions, or "all".
        test: how much time before the latest session's date is the test set's.
        test_from: the test set's first date instead, ISO.
        boundary: a session exactly at the split goes to the "test" set, or is "lost" as in the published code.
        maximum_length: only the last clicks of longer sessions are kept, in both splits, after all has been counted.
        fraction: only the last 1/fraction of the training examples is kept.
        catalogue: the items that get a row are those of the training clicks that are "kept" by `fraction`, or "all"
            that were there before, as in the published code.
        cold_items: test clicks on items that no training session has: "drop" them, and test sessions that are then
            too short; or "keep" them, as misses.
        item_ids: what items' ids are: "integer", "string", or "auto", integers where those of all items that are left
            to train on are. An id is an integer where it is one of 64 bits and written as Python writes it: 7 and -7,
            but neither 007 nor +7, 7.0 or 2^63. Where ids are integers, rows with other ids are bad rows, dropped
            before sessions are made; "auto" does so after a first pass that decides, and does not count them among
            the bad rows that are too many. With test logs of their own, "auto" drops nothing: ids are integers where
            those of all items in both are.
    """

    sessions: SessionsBy = "given"
    gap: str = "30m"
    time_zone: str = "UTC"
    from_time: When | None = None
    until_time: When | None = None
    order: Order = "time"
    date: Date = "latest"
    date_unit: str = "0s"
    collapse_repeats: bool = False
    max_session_clicks: int | None = None
    minimum_length: int = 2
    minimum_support: int = 5
    until_stable: bool = False
    support_from: SupportFrom = "train"
    test: str = "1d"
    test_from: When | None = None
    boundary: Boundary = "test"
    maximum_length: int | None = None
    fraction: int = 1
    catalogue: Catalogue = "kept"
    cold_items: ColdItems = "drop"
    item_ids: IdType = "auto"

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: expected one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        for name in ("collapse_repeats", "until_stable"):
            object.__setattr__(self, name, check_flag(getattr(self, name), name))
        check_text(self.time_zone, "time_zone")
        for name in ("from_time", "until_time", "test_from"):
            when = getattr(self, name)
            if isinstance(when, date):
                object.__setattr__(self, name, when.isoformat())  # as it is recorded
            elif not isinstance(when, (str, type(None))):
                raise TypeError(f"{name}: expected an ISO date or time, or one of Python's, got {when!r}")
        for name in ("gap", "date_unit", "test"):
            check_text(getattr(self, name), name)
            try:
                duration(getattr(self, name))
            except ValueError as error:
                hint = "; see --test-logs for files of test sessions" if name == "test" else ""
                raise ValueError(f"{name}: {error}{hint}") from None
        lowest = {
            "minimum_length": 1,
            "minimum_support": 1,
            "fraction": 1,
            "maximum_length": 2,
            "max_session_clicks": 2,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_count(value, name, least, _MOST))
        for name in ("maximum_length", "max_session_clicks"):
            value = getattr(self, name)
            if value is not None and value < self.minimum_length:
                raise ValueError(f"{name}: expected minimum_length, {self.minimum_length}, or more, got {value}")
        most, last = self.max_session_clicks, self.maximum_length
        if most is not None and last is not None and last >= most:
            raise ValueError(f"maximum_length: expected less than max_session_clicks, {most}, got {last}")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"time_zone: expected a name like UTC or Europe/Vienna, got {self.time_zone!r}") from None
        first, end = self.window()
        if first is not None and end is not None and first >= end:
            raise ValueError(f"until_time: expected later than {self.from_time!r}, got {self.until_time!r}")
        split = self.split_date()
        if split is not None and not (first is None or split > first) & (end is None or split < end):
            raise ValueError(f"test_from: expected between from_time and until_time, got {self.test_from!r}")

    @property
    def zone(self) -> ZoneInfo:
        """The zone that `time_zone` names."""
        return ZoneInfo(self.time_zone)

    def split_date(self) -> int | None:
        """The test set's first date in microseconds since 1970, where it was given."""
        return self._time("test_from")

    def window(self) -> tuple[int | None, int | None]:
        """From when on, and until when not, clicks are used, in microseconds since 1970."""
        return self._time("from_time"), self._time("until_time")

    def _time(self, name: str) -> int | None:
        text = getattr(self, name)
        if text is None:
            return None
        try:
            date = datetime.fromisoformat(str(text))
        except ValueError:
            raise ValueError(f"{name}: expected an ISO date or time, got {text!r}") from None
        date = date if date.tzinfo is not None else date.replace(tzinfo=self.zone)
        return (date - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def as_json(self) -> dict[str, Any]:
        """All options by name."""
        return asdict(self)


# What is done with logs that are split already: all sessions stay as they are.
READY_SPLIT: dict[str, Any] = {"minimum_length": 1, "minimum_support": 1, "cold_items": "keep"}
# What the published preprocessing does with every log.
PUBLISHED: dict[str, Any] = {"support_from": "all", "boundary": "lost", "cold_items": "drop", "catalogue": "all"}
