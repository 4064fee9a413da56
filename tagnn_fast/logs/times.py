"""Texts to times, as Ibis expressions that every engine computes alike: by patterns and arithmetic alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import ibis
from ibis import _
from ibis.expr.types import IntegerValue, StringValue, Table

from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.time_formats import MONTHS, YEAR, ZONE, TimeFormat

SECOND = 10**6
DAY = 86400 * SECOND
FIRST, END = (round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * SECOND for year in (1900, 2200))
DIGITS = {"seconds": 6, "milliseconds": 3, "microseconds": 0, "nanoseconds": -3}  # to append for microseconds

UNITS = tuple(DIGITS)
FORMS = (
    "2024-05-31, 2024/05/31 or 20240531, from 1900 to 2199, alone or with 23:59, 23:59:59.123 or 11:59:59 PM, "
    "which Z, UTC or +02:00 may follow"
)

_DATE = rf"{YEAR}(?:-\d{{2}}-\d{{2}}|/\d{{2}}/\d{{2}}|\d{{4}})"
_MINUTE = r":[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?"
_CLOCK = rf"(?:(?:[01]\d|2[0-3]){_MINUTE}|(?:0?[1-9]|1[0-2]){_MINUTE} ?[AaPp][Mm])"
_ISO = rf"{_DATE}(?:(?:T| +){_CLOCK}(?: ?{ZONE})?)?"
_NUMBER = r"-?\d{1,19}(?:\.\d*)?"
_BLANK = r"[ \t\n\r\x0b\f]"
# What most logs have; its parts are at known places. The zone's names, and how long they are.
_ZONES = {"Z": 1, " UTC": 4, "+00:00": 6}
_PLAIN_ISO = rf"{YEAR}-\d{{2}}-\d{{2}}[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?(?:Z| UTC|\+00:00)?"


def read_times(rows: Table, form: LogFormat) -> Table:
    """Rows with `time` besides, microseconds since 1970, null where `text` cannot be read as one.

    And `local`, whether it is what a clock in an unnamed zone showed. Column by column in steps, since engines compute
    an expression as often as it is written.
    """
    columns = rows.columns
    if form.time_format is not None:
        timed = _by_format(rows, TimeFormat(form.time_format))
    elif form.time_unit == "iso":
        timed = _iso(rows)
    else:
        timed = _number(rows, DIGITS[form.time_unit])
    known = (_.time >= FIRST) & (_.time < END)
    return timed.select(*columns, "local", time=ibis.ifelse(known, _.time, ibis.null("int64")))


def unit_of(text: str) -> str | None:
    """The unit of a number of it that is a time from 1990 to 2099, None of other texts."""
    if not re.fullmatch(_NUMBER, text.strip()):
        return None
    number = Decimal(text.strip())
    near = (unit for unit, digits in DIGITS.items() if 20 * 365 * DAY < number.scaleb(digits) < 130 * 365 * DAY)
    return next(near, None)


def _number(rows: Table, digits: int) -> Table:
    """Numbers of a unit, of which 10^-digits are a microsecond; by text, since fractions of numbers are not exact."""
    rows = _others(rows.mutate(plain=_matching(_.text, rf"\d{{1,{18 - max(digits, 0)}}}")), _NUMBER)
    # Not by a division, which engines compute in floating point: 0.999 of a microsecond became another one.
    plain = _number_of(_.plain) * 10**digits if digits >= 0 else _number_of(_without_last(_.plain, -digits))
    parts = rows.mutate(
        whole=_.stripped.re_extract(r"^-?(\d*)", 1),
        fraction=ibis.ifelse(_.stripped.contains("."), _.stripped.re_extract(r"\.(\d*)$", 1), ""),
    )
    scaled = _.whole + (_.fraction + "0" * digits).substr(0, digits)
    number = scaled if digits >= 0 else _without_last(_.whole, -digits)
    parts = parts.mutate(number=_number_of(number))  # null beyond 64 bits
    other = ibis.ifelse(_.stripped.startswith("-"), -_.number, _.number)
    return parts.mutate(time=ibis.ifelse(_.plain.notnull(), plain, other), local=ibis.literal(False))


def _without_last(text: StringValue, digits: int) -> StringValue:
    """The digits of a text without so many at its end, "0" where there are no more."""
    return "0" + text.substr(0, ibis.greatest(text.length() - digits, 0))


def _iso(rows: Table) -> Table:
    rows = _others(rows.mutate(plain=_matching(_.text, _PLAIN_ISO)), _ISO)
    zone = ibis.cases(*((_.plain.endswith(name), length) for name, length in _ZONES.items()), else_=0)
    rows = _other_iso(rows.mutate(zone=zone))
    return rows.mutate(
        time=ibis.ifelse(_.plain.notnull(), _plain_iso(), _.time),
        local=ibis.ifelse(_.plain.notnull(), _.zone == 0, _.local),
    )


def _plain_iso() -> IntegerValue:
    """Of `plain`, as fast as an engine's own parser."""
    hour, minute = (_number_of(_.plain.substr(place, 2)) for place in (11, 14))
    second = _.plain.substr(17, _.plain.length() - 17 - _.zone).try_cast("decimal(8, 6)")
    clock = (hour * 3600 + minute * 60) * SECOND + (second * SECOND).cast("int64")
    return _days(_.plain.substr(0, 10)) * DAY + clock


def _other_iso(rows: Table) -> Table:
    """Any form, of `stripped`."""
    rows = rows.mutate(compact=~_.stripped.substr(4, 1).isin(["-", "/"]))
    date = _.stripped.substr(0, 10).replace("/", "-")
    compact_date = _.stripped.substr(0, 4) + "-" + _.stripped.substr(4, 2) + "-" + _.stripped.substr(6, 2)
    rows = rows.mutate(
        date=_days(ibis.ifelse(_.compact, compact_date, date)),
        clock=ibis.ifelse(_.compact, _.stripped.substr(9), _.stripped.substr(11)),
    )
    rows = _strip(rows, "clock").mutate(clock=_.clock.upper())
    rows = rows.mutate(clock=ibis.ifelse(_.clock.substr(1, 1) == ":", "0" + _.clock, _.clock))
    rows = rows.mutate(
        hour=_number_of(_.clock.substr(0, 2)),
        minute=_number_of(_.clock.substr(3, 2)),
        second=ibis.ifelse(_.clock.substr(5, 1) == ":", _number_of(_.clock.substr(6, 2)), 0),
        fraction=ibis.ifelse(_.clock.re_search("[.,]"), _micro(_.clock.re_extract(r"[.,](\d+)", 1)), 0),
        has_offset=_.clock.contains("+") | _.clock.contains("-"),
        has_zone=_.clock.contains("Z") | _.clock.contains("T"),  # UTC, GMT
        before_noon=_.clock.contains("AM"),
        after_noon=_.clock.contains("PM"),
    )
    hour = ibis.cases((_.before_noon, _.hour % 12), (_.after_noon, _.hour % 12 + 12), else_=_.hour)
    rows = rows.mutate(
        clock_time=_clock(hour, _.minute, _.second) + _.fraction,
        offset=ibis.ifelse(_.has_offset, _offset(_.clock.re_extract(r"([+-].*)$", 1)), 0),
    )
    return rows.mutate(
        time=_.date * DAY + ibis.ifelse(_.clock == "", 0, _.clock_time - _.offset), local=~(_.has_offset | _.has_zone)
    )


def _by_format(rows: Table, form: TimeFormat) -> Table:
    rows = _others(rows.mutate(plain=ibis.null("string")), form.pattern)
    # Engines do not tell names of columns apart by case.
    name = {letter: f"part_{place}" for place, letter in enumerate(form.groups)}
    groups = {part: _.stripped.re_extract(form.pattern, place) for place, part in enumerate(name.values(), 1)}
    rows = rows.mutate(**groups)
    rows = rows.mutate(
        **{name[letter]: _number_of(_[name[letter]].strip()) for letter in name if letter in "YydmjHIMS"}
    )
    part = {letter: _[column] for letter, column in name.items()}
    rows = rows.mutate(year=part["Y"] if "Y" in part else part["y"] + ibis.ifelse(part["y"] <= 68, 2000, 1900))
    if "j" in part:
        first, last = (_days(_.year.cast("string") + day) for day in ("-01-01", "-12-31"))
        rows = rows.mutate(date=first + part["j"] - 1, last=last)
        rows = rows.mutate(date=ibis.ifelse(_.date <= _.last, _.date, ibis.null("int64")))
    else:
        month = part["m"] if "m" in part else _place(part["b"].lower().substr(0, 3), MONTHS)
        rows = rows.mutate(month=month.cast("string").lpad(2, "0"), day=part["d"].cast("string").lpad(2, "0"))
        rows = rows.mutate(date=_days(_.year.cast("string") + "-" + _.month + "-" + _.day))
    hour: Any = part.get("H", 0)
    if "I" in part:
        hour = part["I"] % 12 + ibis.ifelse(part["p"].lower() == "pm", 12, 0)
    time = _.date * DAY + _clock(hour, part.get("M", 0), part.get("S", 0))
    time = time + _micro(part["f"]) if "f" in part else time
    time = time - _offset(part["z"]) if "z" in part else time
    return rows.mutate(time=time, local=ibis.literal("z" not in part))


def _matching(text: Any, pattern: str) -> StringValue:
    """The text if all of it matches: `$` means less to Java, which takes some ends of lines before it."""
    return ibis.ifelse(text.re_search(rf"^(?:{pattern})\z"), text, ibis.null("string"))


def _others(rows: Table, pattern: str) -> Table:
    """Rows with `stripped`, the text without blanks around it if it matches then, null where `plain` is not.

    So that what is computed of it costs next to nothing for rows that are plain.
    """
    rows = rows.mutate(stripped=ibis.ifelse(_.plain.isnull(), _.text, ibis.null("string")))
    return _strip(rows, "stripped").mutate(stripped=_matching(_.stripped, pattern))


def _strip(rows: Table, column: str) -> Table:
    """A column without blanks around; to look whether there are some is three times as fast as to strip."""
    text = rows[column]
    blanks = text.re_search(rf"^{_BLANK}|{_BLANK}\z")
    return rows.mutate(**{column: ibis.ifelse(blanks, text.strip(), text)})


def _number_of(text: Any) -> IntegerValue:
    return text.try_cast("int64")


def _days(date: Any) -> IntegerValue:
    """Days since 1970 of YYYY-MM-DD, null where there is no such day."""
    return date.try_cast("date").epoch_days().cast("int64")


def _clock(hour: Any, minute: Any, second: Any) -> Any:
    return (hour * 3600 + minute * 60 + second) * SECOND


def _micro(fraction: Any) -> IntegerValue:
    return _number_of((fraction + "000000").substr(0, 6))


def _offset(zone: Any) -> IntegerValue:
    """Microseconds that a zone's clocks are ahead: of Z, UTC, GMT, +02, +0200 or +02:00."""
    minutes = _number_of(zone.substr(1, 2)) * 60 + _number_of("0" + zone.re_extract(r"\d{2}:?(\d{2})$", 1))
    sign = ibis.ifelse(zone.startswith("-"), -60, 60)
    return ibis.ifelse(zone.re_search("^[+-]"), sign * minutes * SECOND, 0)


def _place(name: Any, names: Sequence[str]) -> IntegerValue:
    return ibis.cases(*((name == text, place) for place, text in enumerate(names, 1)), else_=ibis.null("int64"))


def to_utc(time: IntegerValue, zone: ZoneInfo) -> IntegerValue:
    """When clocks in `zone` showed `time`: of two such the earlier; hours left out count on from before."""
    changes = _changes(zone)
    starts = [start + max(before, after) for start, before, after in changes]
    return time - _since(time, starts, _offsets(zone))


def to_local(time: IntegerValue, zone: ZoneInfo) -> IntegerValue:
    """What clocks in `zone` showed at `time`."""
    return time + _since(time, [start for start, _, _ in _changes(zone)], _offsets(zone))


def _since(time: IntegerValue, starts: Sequence[int], values: Sequence[int]) -> Any:
    """values[0] before starts[0], then values[1] up to starts[1], and so on: a search tree."""
    if not starts:
        return ibis.literal(values[0], "int64")
    middle = len(starts) // 2
    before = _since(time, starts[:middle], values[: middle + 1])
    after = _since(time, starts[middle + 1 :], values[middle + 1 :])
    return ibis.ifelse(time < starts[middle], before, after)


def _offsets(zone: ZoneInfo) -> list[int]:
    return [_offset_at(FIRST // SECOND, zone), *(after for _, _, after in _changes(zone))]


@cache
def _changes(zone: ZoneInfo) -> list[tuple[int, int, int]]:
    """When a zone's clocks are changed, and how far they are ahead before and after; all in microseconds."""
    found, step, low = [], 86400, FIRST // SECOND
    before = _offset_at(low, zone)
    while low < END // SECOND:
        high = low + step
        after = _offset_at(high, zone)
        if after != before:
            same, other = low, high
            while other - same > 1:
                middle = (same + other) // 2
                same, other = (middle, other) if _offset_at(middle, zone) == before else (same, middle)
            found.append((other * SECOND, before, after))
        low, before = high, after
    return found


def _offset_at(seconds: int, zone: ZoneInfo) -> int:
    ahead = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone).utcoffset()
    assert ahead is not None
    return round(ahead.total_seconds()) * SECOND
