"""From the rows of a log to sessions, as Ibis expressions: the same for every engine.

Clicks are known by numbers from here on: a session by the row of its first click, an item by the first row it is on.
Both name the same thing on every engine, whatever the ids are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import BooleanColumn, StringColumn, Table

from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions, duration
from tagnn_fast.logs.time_formats import TimeFormat
from tagnn_fast.logs.times import DAY, read_times, to_local, to_utc

_INTEGER = r"^-?\d{1,18}$"
OTHER_EVENT, BEFORE, AFTER = "another event", "before --from", "at --until or later"
LEFT_OUT = (OTHER_EVENT, BEFORE, AFTER)  # reasons of rows that are not bad
_SAMPLES = 10  # bad rows of each kind that are reported


@dataclass
class Report:
    """What became of the rows of a log.

    Attributes:
        steps: name of each step, and the clicks, sessions and items that there were after it.
        bad_rows: of each reason, how many rows and some of them.
        warnings: what may be wrong with the log or with what is done, a sentence each.
        unreadable: some times that could not be read.
        nothing: what was expected of the step after which nothing was left to train on, if there is one.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    bad_rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    nothing: str | None = None


def parse(rows: Table, form: LogFormat) -> Table:
    """owner, item, row, and why a row is bad, with its text, or null.

    And time, int64, microseconds since 1970, which is a clock's in an unnamed zone where `local`; place, by which
    clicks of a session are in order, null where it is by time; and `unreadable`, the text of a time.
    """
    rows = read_times(rows.mutate(text=rows[f"field_{form.used_columns().index(form.time)}"].nullif("")), form)
    column = {name: rows[f"field_{number}"] for number, name in enumerate(form.used_columns())}
    owner, item = (column[name].nullif("") for name in (form.owner, form.item))
    place: Any = ibis.null("int64")
    reasons: list[tuple[Any, Any]] = [
        (rows.fault.notnull(), rows.fault),
        (owner.isnull(), f"no {form.owner}"),
        (item.isnull(), f"no {form.item}"),
        (rows.text.isnull(), f"no {form.time}"),
        (rows.time.isnull(), f"{form.time} cannot be read"),
    ]
    if form.since_start is not None:
        place = _matching(column[form.since_start], _INTEGER).try_cast("int64")
        reasons.append((place.isnull(), f"{form.since_start} cannot be read"))
    if form.user is not None:
        user = column[form.user].nullif("")
        reasons.insert(2, (user.isnull(), f"no {form.user}"))
        owner = user.length().cast("string") + ":" + user + owner  # no two pairs give the same
    if form.event is not None:
        # Before the others: rows of other events may lack anything.
        reasons.insert(1, (~_event(rows, form).isin([event.strip() for event in form.events]), OTHER_EVENT))
    reason = ibis.cases(*reasons, else_=ibis.null("string"))
    texts = [values.fill_null("") for values in column.values()]
    whole = rows.line.fill_null(ibis.literal(form.separator).join(texts))
    nothing = ibis.null("string")
    return rows.select(
        "row",
        "local",
        "time",
        owner=owner,
        item=item,
        place=place,
        reason=reason,
        text=ibis.ifelse(reason.isnull(), nothing, whole),
        unreadable=ibis.ifelse(rows.time.isnull(), rows.text, nothing),
    )


def _event(rows: Table, form: LogFormat) -> StringColumn:
    assert form.event is not None
    return rows[f"field_{form.used_columns().index(form.event)}"].fill_null("").strip()


def count_events(rows: Table, form: LogFormat) -> Table:
    """Event and count, of rows that :func:`parse` takes."""
    events = rows.filter(_.fault.isnull()).select(event=_event(rows, form))
    return events.group_by("event").agg(count=_.count())


def has_local_times(form: LogFormat) -> bool:
    """Whether times may be a clock's in an unnamed zone."""
    return form.time_unit == "iso" and (form.time_format is None or not TimeFormat(form.time_format).has_zone)


def in_utc(parsed: Table, options: PrepareOptions) -> Table:
    """The same with times of clocks as those of the time zone."""
    return parsed.mutate(time=ibis.ifelse(_.local, to_utc(parsed.time, options.zone), _.time))


def in_window(parsed: Table, options: PrepareOptions) -> Table:
    """The same, where rows outside of the options' times have a reason too, but no text."""
    first, end = options.window()
    reasons = [(_.reason.notnull(), _.reason)]
    if first is not None:
        reasons.append((_.time < first, ibis.literal(BEFORE)))
    if end is not None:
        reasons.append((_.time >= end, ibis.literal(AFTER)))
    return parsed.mutate(reason=ibis.cases(*reasons, else_=ibis.null("string")))


def placed(parsed: Table) -> Table:
    """The same with a place for every click."""
    return parsed.mutate(place=_.place.fill_null(_.time)).drop("local")


def _matching(text: StringColumn, pattern: str) -> StringColumn:
    return ibis.ifelse(text.re_search(pattern), text, ibis.null("string"))


def report_bad_rows(engine: Engine, parsed: Table, report: Report) -> int:
    """Count bad rows and take some of each kind; gives how many others there are."""
    bad = parsed.filter(_.reason.notnull())
    place = ibis.row_number().over(group_by="reason", order_by=[_.row.abs(), _.row])
    some = bad.mutate(place=place).filter((_.place < _SAMPLES) & _.text.notnull()).select("reason", "place", "text")
    counts = {row["reason"]: row["count"] for row in engine.rows(parsed.group_by("reason").agg(count=_.count()))}
    good: int = counts.pop(None, 0)
    for reason, count in sorted(counts.items()):
        report.bad_rows[reason] = {"count": count, "some": []}
    for row in sorted(engine.rows(some), key=lambda row: (row["reason"], row["place"])):
        report.bad_rows[row["reason"]]["some"].append(row["text"][:200])
    if "unreadable" in parsed.columns:
        times = bad.filter(_.unreadable.notnull() & ~_.reason.isin(LEFT_OUT)).order_by("row").limit(_SAMPLES)
        report.unreadable = [row["unreadable"] for row in engine.rows(times.select("unreadable"))]
    return good


def refuse_other_ids(parsed: Table, form: LogFormat) -> Table:
    """The same, where rows whose item's id is no integer are bad rows too; of these the id is the text."""
    other = _.reason.isnull() & ~_is_integer(_.item)
    return parsed.mutate(
        reason=ibis.ifelse(other, f"{form.item} is no integer", _.reason), text=ibis.ifelse(other, _.item, _.text)
    )


def _is_integer(text: StringColumn) -> BooleanColumn:
    """Whether it comes out again as it is, when it is read as an integer of 64 bits."""
    return (text.try_cast("int64").cast("string") == text).fill_null(False)


def good_rows(parsed: Table) -> Table:
    """Clicks: what :func:`parse` gives of rows that are not bad."""
    return parsed.filter(_.reason.isnull()).drop("reason", "text", "unreadable")


def name_items(clicks: Table) -> Table:
    """item, the raw id, and code, the number it is known by."""
    return clicks.group_by("item").agg(code=_.row.min())


def count_ids(items: Table) -> Table:
    """One row: items whose ids are integers, and those whose are not."""
    integers = _.integer.cast("int64")
    return items.select(integer=_is_integer(items.item)).agg(
        integers=integers.sum().fill_null(0), others=(1 - integers).sum().fill_null(0)
    )


def cut_sessions(clicks: Table, options: PrepareOptions) -> Table:
    """Clicks with `part` besides: with their owner, it says which session they are of."""
    kind = options.sessions
    if kind == "given":
        clicks = clicks.mutate(part=ibis.literal(0, "int64"))
    elif kind == "day":
        clicks = clicks.mutate(part=_floor(to_local(clicks.time, options.zone), DAY))
    else:
        order = {"group_by": "owner", "order_by": ["time", "row"]}
        clicks = clicks.mutate(pause=_.time - _.time.lag().over(**order))
        starts = ibis.ifelse(_.pause > duration(options.gap), 1, 0)
        clicks = clicks.mutate(part=starts.sum().over(ibis.window(**order, preceding=None, following=0)))
    return clicks


def make_sessions(clicks: Table, items: Table, options: PrepareOptions) -> Table:
    """Clicks: session and item by number, date of the session, place and row of the click in it."""
    date = _.time.max() if options.date == "latest" else _.time.argmax(_.row)
    sessions = clicks.group_by("owner", "part").agg(session=_.row.min(), date=date)
    unit = duration(options.date_unit) or 1
    sessions = sessions.mutate(date=_floor(_.date, unit))
    place = _.place if options.order == "time" else ibis.literal(0, "int64")
    joined = clicks.join(sessions, ["owner", "part"]).join(items, "item")
    return joined.select("session", "date", "row", item=_.code, place=place)


def _floor(value: Any, unit: int) -> Any:
    return value - (value % unit + unit) % unit  # engines' remainders have the sign of the value


def session_sizes(clicks: Table) -> Table:
    """One row: sessions, those that are over a day long, and the most clicks and the longest time that one has."""
    sessions = clicks.group_by("owner", "part").agg(clicks=_.count(), span=_.time.max() - _.time.min())
    return sessions.agg(
        sessions=_.count(), long=(_.span > DAY).cast("int64").sum(), clicks=_.clicks.max(), span=_.span.max()
    )


def longer_sessions(clicks: Table, most: int) -> Table:
    """One row: how many sessions have more clicks."""
    return clicks.group_by("session").agg(clicks=_.count()).filter(_.clicks > most).agg(sessions=_.count())


def last_clicks(clicks: Table, most: int) -> Table:
    """The last clicks of each session."""
    order = [ibis.desc("place"), ibis.desc("row")]
    return (
        clicks.mutate(to_end=ibis.row_number().over(group_by="session", order_by=order))
        .filter(_.to_end < most)
        .drop("to_end")
    )


def collapse_repeats(clicks: Table) -> Table:
    """Without clicks on the item of the click before."""
    before = _.item.lag().over(group_by="session", order_by=["place", "row"])
    marked = clicks.mutate(before=before)
    return marked.filter((_.before != _.item) | _.before.isnull()).drop("before")


def long_sessions(clicks: Table, minimum: int) -> Table:
    """Sessions of at least so many clicks."""
    return _frequent(clicks, "session", minimum)


def supported_items(clicks: Table, minimum: int) -> Table:
    """Clicks on items that have at least so many."""
    return _frequent(clicks, "item", minimum)


def _frequent(clicks: Table, column: str, minimum: int) -> Table:
    frequent = clicks.group_by(column).agg(times=_.count()).filter(_.times >= minimum)
    return clicks.semi_join(frequent, column)


def in_order(clicks: Table) -> Table:
    """Sessions by date, equal ones by first row, and their clicks in order."""
    return clicks.order_by("date", "session", "place", "row")


def counts(clicks: Table) -> Table:
    """One row: clicks, sessions and items."""
    return clicks.agg(clicks=_.count(), sessions=_.session.nunique(), items=_.item.nunique())
