"""From the rows of a log to sessions, as Ibis expressions: the same for every engine.

Clicks are known by numbers from here on: a session by the row of its first click, an item by the first row it is on.
Both name the same thing on every engine, whatever the ids are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import BooleanColumn, IntegerColumn, StringColumn, Table

from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions, duration

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_ZONE = r"(Z|[+-](0\d|1[0-7])(:[0-5]\d)?)"
_ISO = rf"^\d{{4}}-\d{{2}}-\d{{2}}([T ]{_CLOCK}(:\d{{2}}(\.\d{{1,9}})?{_ZONE}?)?)?$"
_INTEGER = r"^-?\d{1,18}$"
_SECONDS, _MILLISECONDS = r"^-?\d{1,12}(\.\d{1,6})?$", r"^-?\d{1,15}(\.\d{1,6})?$"
OTHER_EVENT = "another event"
_SAMPLES = 10  # bad rows of each kind that are reported


@dataclass
class Report:
    """What became of the rows of a log.

    Attributes:
        steps: name of each step, and the clicks, sessions and items that there were after it.
        bad_rows: of each reason, how many rows and some of them.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    bad_rows: dict[str, dict[str, Any]] = field(default_factory=dict)


def parse(engine: Engine, rows: Table, form: LogFormat) -> Table:
    """owner, item, row, and why a row is bad, with its text, or null.

    And time, int64, microseconds since 1970; place, by which clicks of a session are in order.
    """
    column = {name: rows[f"field_{number}"] for number, name in enumerate(form.used_columns())}
    owner, item, text = (column[name].nullif("") for name in (form.owner, form.item, form.time))
    time = place = _time(engine, text, form.time_unit)
    reasons: list[tuple[Any, Any]] = [
        (rows.fault.notnull(), rows.fault),
        (owner.isnull(), f"no {form.owner}"),
        (item.isnull(), f"no {form.item}"),
        (text.isnull(), f"no {form.time}"),
        (time.isnull(), f"{form.time} cannot be read"),
    ]
    if form.since_start is not None:
        place = _matching(column[form.since_start], _INTEGER).try_cast("int64")
        reasons.append((place.isnull(), f"{form.since_start} cannot be read"))
    if form.event is not None:
        # Before the others: rows of other events may lack anything.
        reasons.insert(1, (~column[form.event].fill_null("").isin(form.events), OTHER_EVENT))
    reason = ibis.cases(*reasons, else_=ibis.null("string"))
    texts = [values.fill_null("") for values in column.values()]
    whole = rows.line.fill_null(ibis.literal(form.separator).join(texts))
    return rows.select(
        "row",
        owner=owner,
        item=item,
        time=time,
        place=place,
        reason=reason,
        text=ibis.ifelse(reason.isnull(), ibis.null("string"), whole),
    )


def _time(engine: Engine, text: StringColumn, unit: str) -> IntegerColumn:
    """Microseconds since 1970, null where they cannot be read."""
    if unit == "iso":
        # Engines read different things as times beyond what this pattern takes.
        return engine.microseconds(_matching(text, _ISO).try_cast("timestamp('UTC')"))
    pattern, scale = (_SECONDS, 10**6) if unit == "seconds" else (_MILLISECONDS, 1000)
    number = _matching(text, pattern).try_cast("decimal(21, 6)")
    return (number * scale).cast("int64")


def _matching(text: StringColumn, pattern: str) -> StringColumn:
    return ibis.ifelse(text.re_search(pattern), text, ibis.null("string"))


def report_bad_rows(engine: Engine, parsed: Table, report: Report) -> None:
    """Count bad rows and take some of each kind."""
    bad = parsed.filter(_.reason.notnull())
    place = ibis.row_number().over(group_by="reason", order_by=[_.row.abs(), _.row])
    some = bad.mutate(place=place).filter(_.place < _SAMPLES).select("reason", "place", "text")
    counts = bad.group_by("reason").agg(count=_.count())
    for row in sorted(engine.rows(counts), key=lambda row: str(row["reason"])):
        report.bad_rows[row["reason"]] = {"count": row["count"], "some": []}
    for row in sorted(engine.rows(some), key=lambda row: (row["reason"], row["place"])):
        report.bad_rows[row["reason"]]["some"].append(row["text"][:200])


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
    return parsed.filter(_.reason.isnull()).drop("reason", "text")


def name_items(clicks: Table) -> Table:
    """item, the raw id, and code, the number it is known by."""
    return clicks.group_by("item").agg(code=_.row.min())


def count_ids(items: Table) -> Table:
    """One row: items whose ids are integers, and those whose are not."""
    integers = _.integer.cast("int64")
    return items.select(integer=_is_integer(items.item)).agg(
        integers=integers.sum().fill_null(0), others=(1 - integers).sum().fill_null(0)
    )


def make_sessions(engine: Engine, clicks: Table, items: Table, options: PrepareOptions) -> Table:
    """Clicks: session and item by number, date of the session, place and row of the click in it."""
    kind = options.sessions
    if kind == "given":
        clicks = clicks.mutate(part=ibis.literal(0, "int64"))
    elif kind == "day":
        clicks = clicks.mutate(part=engine.instant(_.time).date().epoch_days().cast("int64"))
    else:
        order = {"group_by": "owner", "order_by": ["time", "row"]}
        clicks = clicks.mutate(pause=_.time - _.time.lag().over(**order))
        starts = ibis.ifelse(_.pause > duration(options.gap), 1, 0)
        clicks = clicks.mutate(part=starts.sum().over(ibis.window(**order, preceding=None, following=0)))
    date = _.time.max() if options.date == "latest" else _.time.argmax(_.row)
    sessions = clicks.group_by("owner", "part").agg(session=_.row.min(), date=date)
    unit = duration(options.date_unit) or 1
    sessions = sessions.mutate(date=_.date - _.date % unit)
    place = _.place if options.order == "time" else ibis.literal(0, "int64")
    joined = clicks.join(sessions, ["owner", "part"]).join(items, "item")
    return joined.select("session", "date", "row", item=_.code, place=place)


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
