"""What looks wrong about a log: errors that say how to go on, and warnings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from ibis import _
from ibis.expr.types import Table

from tagnn_fast.logs import pipeline
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions
from tagnn_fast.logs.pipeline import LEFT_OUT, Report
from tagnn_fast.logs.times import DAY, FORMS, UNITS, unit_of

_MOST_CLICKS = 1000  # of a session that is not looked at twice
_PARTS = 10_000  # of the span of a log: so exact are the times by which a share of the clicks was made


class NothingLeftError(ValueError):
    """No session is left to train on.

    Attributes:
        report: the steps up to there, and the bad rows.
    """

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def refuse_missing_events(engine: Engine, rows: Table, form: LogFormat) -> None:
    """Kinds of events that are to be used must be in the log."""
    found = {row["event"]: row["count"] for row in engine.rows(pipeline.count_events(rows, form))}
    missing = [event for event in form.events if event.strip() not in found]
    if missing and found:
        frequent = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:20]
        listed = ", ".join(f"{event or 'nothing'} ({count:,})" for event, count in frequent)
        raise ValueError(f"events: expected kinds that occur, got {missing[0]!r}; {form.event} has {listed}")


def refuse_bad_rows(report: Report, files: LogFiles, form: LogFormat, most: int) -> None:
    """Not more than so many."""
    bad = {reason: found for reason, found in report.bad_rows.items() if reason not in LEFT_OUT}
    total = sum(found["count"] for found in bad.values())
    if total <= most:
        return
    example = next(iter(bad.values()))["some"][0]
    raise ValueError(
        f"{files.paths[0]}: expected at most {most:,} bad rows (--max-bad-rows), got {total:,}: {_described(bad)}; "
        f"such as {example!r}{time_hint(report, form)}"
    )


def refuse_no_clicks(report: Report, files: LogFiles, form: LogFormat) -> NoReturn:
    """What became of the rows of a log without a click that can be used."""
    became = _described(report.bad_rows) or "no rows"
    message = f"{files.paths[0]}: expected clicks, got none that can be used: {became}{time_hint(report, form)}"
    raise NothingLeftError(message, report)


def _described(bad_rows: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{found['count']:,} × {reason}" for reason, found in bad_rows.items())


def time_hint(report: Report, form: LogFormat) -> str:
    """What to do about a time that could not be read, if there is one."""
    if not report.unreadable:
        return ""
    text = report.unreadable[0]
    start = f". {form.time}: got {text[:100]!r}"
    other = unit_of(text)
    if other is not None and other != form.time_unit:
        return f"{start}, a number of {other} since 1970: --time-unit {other}"
    if form.time_format is not None:
        return f"{start}, expected a time like --time-format {form.time_format!r}"
    if form.time_unit != "iso":
        return f"{start}, expected {form.time_unit} since 1970, from 1900 to 2199; see --time-unit and --time-format"
    order = "; which of the two is the day is not guessed" if re.match(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d", text) else ""
    return f"{start}, expected {FORMS}{order}; others by --time-format, like '%d/%m/%Y %H:%M:%S', and --time-unit"


def time_spread(engine: Engine, clicks: Table) -> dict[str, int]:
    """When the first click was, the last, and some shares of all: microseconds since 1970.

    A share of the clicks was made by the first click of that ten-thousandth of the log's time which has the click.
    """
    ends = engine.rows(clicks.agg(first=_.time.min(), last=_.time.max(), clicks=_.count()))[0]
    first, last = ends["first"], ends["last"]
    if first is None:
        return {}
    width = (last - first) // _PARTS + 1
    part = (_.time - first) - (_.time - first) % width
    parts = clicks.mutate(part=part).group_by("part").agg(first=_.time.min(), clicks=_.count())
    found, before = {"first": first}, 0
    shares = {"1%": 1, "10%": 10, "median": 50, "90%": 90, "99%": 99}
    for row in sorted(engine.rows(parts), key=lambda row: int(row["part"])):
        before += row["clicks"]
        for name, share in shares.items():
            if name not in found and before * 100 >= share * ends["clicks"]:
                found[name] = row["first"]
    return {**found, "last": last}


def refuse_wrong_unit(engine: Engine, clicks: Table, form: LogFormat, options: PrepareOptions) -> None:
    """Numbers that all are of early 1970, and of our time in a larger unit, are of that one."""
    if form.time_unit not in UNITS[1:]:
        return
    ends = engine.rows(clicks.agg(first=_.time.min(), last=_.time.max()))[0]
    if ends["first"] is None:
        return
    for larger in UNITS[: UNITS.index(form.time_unit)]:
        factor = 10 ** (3 * (UNITS.index(form.time_unit) - UNITS.index(larger)))
        if all(_is_of_our_time(time * factor) for time in ends.values()):
            shown, meant = (show_time(time, options.zone) for time in (ends["last"], ends["last"] * factor))
            raise ValueError(
                f"time_unit: expected the log's, got {form.time_unit}, by which its last click was at {shown}; "
                f"by --time-unit {larger} it was at {meant}"
            )


def _is_of_our_time(time: int) -> bool:
    return 20 * 365 * DAY < time < 130 * 365 * DAY  # 1990 to 2099


def show_time(time: int, zone: ZoneInfo) -> str:
    """To the second."""
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return f"{date.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def warn_of_merged_sessions(engine: Engine, clicks: Table, report: Report) -> None:
    """Session ids that mean more than one session: half of them last over a day, or one has very many clicks."""
    sizes = engine.rows(pipeline.session_sizes(clicks))[0]
    if not sizes["sessions"]:
        return
    if sizes["clicks"] > _MOST_CLICKS:
        what = f"the longest session has {sizes['clicks']:,} clicks"
    elif sizes["long"] * 2 > sizes["sessions"]:
        what = f"{sizes['long']:,} of {sizes['sessions']:,} sessions are over a day long"
    else:
        return
    report.warnings.append(
        f"{what}: if session ids are unique only with the user's, name both, --session-column and --user-column; "
        "if it is a robot's, see --max-session-clicks"
    )


def warn_of_split(report: Report, spread: Mapping[str, int], split: int, options: PrepareOptions) -> None:
    """A test set that is very small or very large, or smaller than its time would have it; clicks far from all others.

    Usual is what the time would have if sessions came as often as in that of 80% of the clicks, which few wrong times
    do not change.
    """
    steps = {step["step"]: step["sessions"] for step in report.steps}
    test, train = steps["test sessions"], steps["training sessions"]
    busy = max(spread["90%"] - spread["10%"], 1)
    usual = min(0.8 * (spread["last"] - split) / busy, 1) * (test + train)
    if not 0.01 <= test / max(test + train, 1) <= 0.5:
        report.warnings.append(
            f"the test set has {test:,} of {test + train:,} sessions ({100 * test / max(test + train, 1):.1f}%): "
            "see --test and --test-from, and --until if the last times are wrong"
        )
    elif test * 4 < usual:
        report.warnings.append(
            f"few sessions are in the test set, {test:,}, where {usual:,.0f} of {test + train:,} would be usual: "
            "see --until if the last times are wrong"
        )
    if spread["last"] - spread["99%"] > spread["99%"] - spread["first"] > 0:
        last, most = (show_time(spread[name], options.zone) for name in ("last", "99%"))
        report.warnings.append(f"the last click is at {last}, but 99% of all are before {most}: see --until")
    if _is_of_our_time(spread["median"]) and not _is_of_our_time(spread["first"]):
        first = show_time(spread["first"], options.zone)
        report.warnings.append(f"the first click is at {first}: see --from if that means no time")


def warn_of_blanks(raw_ids: pa.Array, report: Report) -> None:
    """Ids of items with blanks around them, which are other ids than those without."""
    others = raw_ids.filter(pc.not_equal(raw_ids, pc.utf8_trim_whitespace(raw_ids)))
    if len(others):
        report.warnings.append(
            f"{len(others):,} of {len(raw_ids):,} item ids have blanks around them, such as {others[0].as_py()!r}, "
            "which are part of them: see --separator"
        )
