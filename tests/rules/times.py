"""The rules of `prepare logs`, two: which texts are times, and which."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.rules.log import Log

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"seconds": 10**6, "milliseconds": 10**3, "microseconds": 1, "nanoseconds": Decimal("0.001")}
_DATE = r"(?P<year>\d{4})(?:(?P<mark>[-/])(?P<m1>\d\d)(?P=mark)(?P<d1>\d\d)|(?P<m2>\d\d)(?P<d2>\d\d))"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE = r"(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<zh>\d\d):?(?P<zm>\d\d)?)"
_ISO = re.compile(rf"{_DATE}(?:(?:T| +){_CLOCK}(?: ?{_ZONE})?)?", re.ASCII)


def microseconds(text: str, log: Log, zone: ZoneInfo) -> int | None:
    """Since 1970, None for no time."""
    text = text.strip(" ")
    if log.time_format is not None:
        return _by_format(text, log.time_format, zone)
    return _iso(text, zone) if log.unit == "iso" else _number(text, log.unit)


def in_range(time: datetime) -> bool:
    """As it is written, where that names no zone."""
    return 1900 <= time.year < 2200


def since_1970(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def _number(text: str, unit: str) -> int | None:
    if not re.fullmatch(r"-?\d{1,19}(\.\d*)?", text, re.ASCII):
        return None
    time = int(Decimal(text) * UNITS[unit])
    first, end = (since_1970(datetime(year, 1, 1, tzinfo=UTC)) for year in (1900, 2200))
    return time if first <= time < end else None


def _iso(text: str, zone: ZoneInfo) -> int | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    hour, minute, second = (int(part[name] or 0) for name in ("hour", "minute", "second"))
    if part["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if part["half"].upper() == "PM" else 0)
    elif part["hour"] and len(part["hour"]) == 1:
        return None
    ahead = timedelta(0)
    if part["sign"]:
        if int(part["zh"]) > 17 or int(part["zm"] or 0) > 59:
            return None
        ahead = timedelta(hours=int(part["zh"]), minutes=int(part["zm"] or 0)) * (-1 if part["sign"] == "-" else 1)
    fraction = int(((part["fraction"] or "") + "000000")[:6])
    try:
        time = datetime(
            int(part["year"]), int(part["m1"] or part["m2"]), int(part["d1"] or part["d2"]),
            hour, minute, second, fraction, UTC if part["zone"] else zone,
        )  # fmt: skip
        if part["zone"]:
            time -= ahead
    except (ValueError, OverflowError):
        return None
    return since_1970(time.astimezone(UTC)) if in_range(time) else None


def _by_format(text: str, form: str, zone: ZoneInfo) -> int | None:
    try:
        time = datetime.strptime(text, form)
    except ValueError:
        return None
    if not in_range(time.astimezone(UTC) if time.tzinfo else time):
        return None
    return since_1970((time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC))
