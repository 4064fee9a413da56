"""Logs to data sets: the pipeline's steps in order, then what is left in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ibis.expr.types import Table

from tagnn_fast.checks import check_count
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.vocabulary import are_integers
from tagnn_fast.logs import pipeline
from tagnn_fast.logs.assemble import RawSessions, Splits, assemble, shorten
from tagnn_fast.logs.checks import (
    NothingLeftError,
    refuse_bad_rows,
    refuse_missing_events,
    refuse_no_clicks,
    refuse_wrong_unit,
    show_time,
    time_spread,
    warn_of_blanks,
    warn_of_merged_sessions,
    warn_of_split,
)
from tagnn_fast.logs.clicks import store_clicks
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.files import LogFiles, check_each_once
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions, duration
from tagnn_fast.logs.pipeline import Report
from tagnn_fast.logs.ready_split import put_behind, warn_of_early_test, warn_of_same_ids

STAGES = ("reading", "cutting sessions", "filtering", "splitting", "collecting")
Advance = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a log's clicks came to: sessions of both splits, and the raw id of each item's number."""

    train: RawSessions
    test: RawSessions
    codes: pa.Array
    raw_ids: pa.Array
    split: int | None
    times: dict[str, int]
    report: Report


def prepare_logs(
    engine: Engine,
    files: LogFiles,
    form: LogFormat,
    options: PrepareOptions,
    name: str,
    max_bad_rows: int = 0,
    advance: Advance = lambda stage: None,
    test_files: LogFiles | None = None,
) -> Dataset:
    """A data set from logs.

    Args:
        engine: what reads, filters and splits.
        files: of the log.
        form: what they look like.
        options: what is done.
        name: of the data set.
        max_bad_rows: so many rows of a log that cannot be used are dropped and reported; more are an error.
        advance: called with the name of each stage before it begins.
        test_files: of the test sessions, where the log is split already; the data set then keeps no clicks for updates.

    Raises:
        ValueError: on too many bad rows, or where nothing is left to train on.
    """
    report = Report()
    integers: bool | None = {"integer": True, "string": False}.get(options.item_ids)
    given = (max_bad_rows, bool(integers), advance)
    parsed = [read_clicks(engine, files, form, options, report, *given, first=True)]
    if test_files is not None:
        parsed.append(read_clicks(engine, test_files, form, options, of_test := Report(), *given))
        report.bad_rows.update({f"{reason} (test logs)": found for reason, found in of_test.bad_rows.items()})
    clicks, first_test = _united(engine, parsed, options, report)
    stored = store_clicks(engine, clicks) if first_test is None else None
    keep = parsed[0] if integers is None and first_test is None else None
    prepared = run_pipeline(engine, clicks, form, options, report, advance, keep, first_test=first_test)
    splits = shortened(prepared, options, name)
    if integers is None:
        all_are = bool(pc.all(are_integers(prepared.raw_ids), min_count=0).as_py())
        # Where clicks on new items stay, those whose ids are of the other kind must.
        drops = first_test is None and options.cold_items == "drop"
        integers = splits.is_of_integers() if drops else all_are
        if integers and not all_are:
            report = Report()
            fitting = engine.keep(pipeline.refuse_other_ids(parsed[0], form))
            pipeline.report_bad_rows(engine, fitting, report)
            clicks = pipeline.good_rows(fitting)
            stored = store_clicks(engine, clicks)
            prepared = run_pipeline(engine, clicks, form, options, report, advance)
            splits = shortened(prepared, options, name)
    warn_of_blanks(splits.raw_ids, report)
    source = describe(engine, files, form, options, prepared)
    if test_files is not None:
        check_each_once(files, test_files)
        source["test_files"] = test_files.described
    source["item_ids"] = "integer" if integers else "string"
    if options.item_ids == "auto" and not integers:
        others = splits.raw_ids.filter(pc.invert(are_integers(splits.raw_ids)))
        if 0 < len(others) < len(splits.raw_ids):
            source["ids_that_are_no_integers"] = {
                "count": len(others),
                "of": len(splits.raw_ids),
                "some": others[:10].to_pylist(),
            }
    dataset = assemble(splits, prepared.codes, prepared.raw_ids, options, name, source)
    return dataclasses.replace(dataset, clicks=stored)


def _united(
    engine: Engine, parsed: Sequence[Table], options: PrepareOptions, report: Report
) -> tuple[Table, int | None]:
    """Clicks of a log and, where there is one, of its test log; and the first row of the latter's."""
    train, *tests = map(pipeline.good_rows, parsed)
    if not tests:
        return train, None
    if options.sessions == "given":
        warn_of_same_ids(engine, train, tests[0], report)
    return put_behind(engine, train, tests[0])


def shortened(prepared: Prepared, options: PrepareOptions, name: str) -> Splits:
    """Both splits by :func:`shorten`; raises NothingLeftError where there is nothing to train on."""
    if prepared.report.nothing is not None:
        raise NothingLeftError(f"{name}: expected {prepared.report.nothing}", prepared.report)
    splits = shorten(prepared.train, prepared.test, prepared.codes, prepared.raw_ids, options)
    prepared.report.steps.extend(splits.steps)
    if len(splits.train.items) == 0:
        raise NothingLeftError(
            f"{name}: expected training examples in the last 1/{options.fraction} of them, got none; see --fraction",
            prepared.report,
        )
    return splits


def read_clicks(
    engine: Engine,
    files: LogFiles,
    form: LogFormat,
    options: PrepareOptions,
    report: Report,
    max_bad_rows: int,
    integers: bool,
    advance: Advance,
    first: bool = False,
) -> Table:
    """What :func:`pipeline.parse` makes of a log, kept, and bad rows reported.

    Args:
        engine: what reads.
        files: of the log.
        form: what they look like.
        options: the time zone, and from when to when clicks are used.
        report: gets the bad rows.
        max_bad_rows: so many may be dropped.
        integers: whether rows with item ids that are no integers are bad rows.
        advance: called with the name of the stage.
        first: whether it is a log of its own, that must have all events, and not one more day's.

    Raises:
        ValueError: on too many bad rows, events that are not there, or no click that can be used.
    """
    check_count(max_bad_rows, "max_bad_rows", 0)
    advance("reading")
    rows = engine.read(files, form.used_columns())
    if first and form.event is not None:
        refuse_missing_events(engine, rows, form)
    parsed = pipeline.parse(rows, form)
    if pipeline.has_local_times(form) and options.time_zone != "UTC":
        # In two steps: what an expression refers to is computed for each time that it does.
        parsed = pipeline.in_utc(engine.keep(parsed), options)
    if options.window() != (None, None):
        parsed = pipeline.in_window(engine.keep(parsed), options)
    parsed = pipeline.refuse_other_ids(parsed, form) if integers else parsed
    parsed = engine.keep(pipeline.placed(parsed))
    good = pipeline.report_bad_rows(engine, parsed, report)
    refuse_bad_rows(report, files, form, max_bad_rows)
    if good == 0:
        refuse_no_clicks(report, files, form)
    refuse_wrong_unit(engine, pipeline.good_rows(parsed), form, options)
    return parsed


def run_pipeline(
    engine: Engine,
    parsed_clicks: Table,
    form: LogFormat,
    options: PrepareOptions,
    report: Report,
    advance: Advance,
    keep: Table | None = None,
    look: Callable[[Table], None] = lambda sessions: None,
    first_test: int | None = None,
) -> Prepared:
    """All that an engine does with the clicks of a log.

    Args:
        engine: what filters and splits.
        parsed_clicks: by :func:`pipeline.good_rows`.
        form: what they look like.
        options: what is done.
        report: gets the steps and warnings.
        advance: called with the name of each stage.
        keep: a table that stays if item ids are of both kinds, to be gone through again.
        look: gets the clicks of all sessions, before any is dropped.
        first_test: first row of the test sessions, where they are split already.
    """

    def step(what: str, clicks: Table, expected: str | None = None) -> int:
        report.steps.append({"step": what, **engine.rows(pipeline.counts(clicks))[0]})
        count: int = report.steps[-1]["clicks"]
        if count == 0 and report.nothing is None:
            report.nothing = expected
        return count

    items = engine.keep(pipeline.name_items(parsed_clicks))
    stay = [items]
    if keep is not None and all(engine.rows(pipeline.count_ids(items))[0].values()):
        stay.append(keep)

    advance("cutting sessions")
    clicks = pipeline.cut_sessions(parsed_clicks, options)
    if options.sessions != "given":
        clicks = engine.keep(clicks)
    elif form.user is None:
        warn_of_merged_sessions(engine, clicks, report)
    times = time_spread(engine, clicks)
    clicks = engine.keep(pipeline.make_sessions(clicks, items, options))
    look(clicks)
    engine.forget_all_but(*stay, clicks)
    step("clicks of the log", clicks)

    advance("filtering")
    if options.collapse_repeats:
        clicks = engine.keep(pipeline.collapse_repeats(clicks))
        step("without repeats", clicks)
    if options.max_session_clicks is not None:
        before = report.steps[-1]["clicks"]
        sessions = engine.rows(pipeline.longer_sessions(clicks, options.max_session_clicks))[0]["sessions"]
        clicks = engine.keep(pipeline.last_clicks(clicks, options.max_session_clicks))
        cut = before - step(f"last {options.max_session_clicks} clicks of sessions", clicks)
        report.steps[-1].update(sessions_cut=sessions, clicks_cut=cut)
    clicks = engine.keep(pipeline.long_sessions(clicks, options.minimum_length))
    engine.forget_all_but(*stay, clicks)
    long = f"sessions of {options.minimum_length} clicks or more"
    step(long, clicks, f"{long}, got none; see --minimum-length")
    if options.support_from == "all":
        clicks = _supported(engine, clicks, options, report, step)

    advance("splitting")
    if first_test is None:
        split = options.split_date()
        if split is None:
            latest = engine.rows(clicks.agg(latest=clicks.date.max()))[0]["latest"]
            split = (latest if latest is not None else 0) - duration(options.test)
        train = clicks.filter(clicks.date < split)
        test = clicks.filter(clicks.date > split if options.boundary == "lost" else clicks.date >= split)
        expected = "training sessions before the split, got none; see --test and --test-from"
    else:
        split, expected = None, "training sessions that long, got none; see --minimum-length"
        train, test = clicks.filter(clicks.session < first_test), clicks.filter(clicks.session >= first_test)
    step("test sessions", test)
    step("training sessions", train, expected)
    if split is not None:
        warn_of_split(report, times, split, options)
    else:
        warn_of_early_test(engine, train, test, options, report)
    if options.support_from == "train":
        train = _supported(engine, train, options, report, step)

    advance("collecting")
    named = pa.Table.from_batches(engine.batches(items))
    prepared = Prepared(
        RawSessions.collect(engine.batches(pipeline.in_order(train))),
        RawSessions.collect(engine.batches(pipeline.in_order(test))),
        named["code"].combine_chunks(),
        named["item"].combine_chunks().cast(pa.string()),
        split,
        times,
        report,
    )
    engine.forget_all_but(*stay[1:])  # the rest needs the memory
    return prepared


def _supported(
    engine: Engine, clicks: Table, options: PrepareOptions, report: Report, step: Callable[[str, Table, str], int]
) -> Table:
    """Items with support, in sessions that are still long enough; once, or until nothing changes."""
    while True:
        before = report.steps[-1]["clicks"]
        supported = pipeline.supported_items(clicks, options.minimum_support)
        clicks = engine.keep(pipeline.long_sessions(supported, options.minimum_length))
        popular = f"items of {options.minimum_support} clicks or more"
        whose = "training sessions" if options.support_from == "train" else "sessions"
        step(
            popular,
            clicks,
            f"{popular} in {whose}, got none that leave one; see --minimum-support",
        )
        if not options.until_stable or report.steps[-1]["clicks"] == before:
            return clicks


def describe(
    engine: Engine, files: LogFiles, form: LogFormat, options: PrepareOptions, prepared: Prepared
) -> dict[str, Any]:
    """Where a data set comes from, for its record."""
    return {
        "kind": "logs",
        "engine": engine.version(),
        "files": files.described,
        "format": {key: value for key, value in dataclasses.asdict(form).items() if key != "published"},
        "options": options.as_json(),
        "test_from_microseconds": prepared.split,
        "times": {name: show_time(time, options.zone) for name, time in prepared.times.items()},
        "steps": prepared.report.steps,
        "bad_rows": prepared.report.bad_rows,
        "warnings": prepared.report.warnings,
    }
