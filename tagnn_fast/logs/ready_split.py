"""Logs that are split already: test sessions are those of a log of their own."""

from __future__ import annotations

from typing import Literal

import ibis
from ibis import _
from ibis.expr.types import Table

from tagnn_fast.logs.checks import show_time
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.options import PrepareOptions
from tagnn_fast.logs.pipeline import Report


def put_behind(engine: Engine, train: Table, test: Table) -> tuple[Table, int]:
    """Clicks of both logs, and the first row of the test log's: sessions are of one log, whatever their ids.

    Args:
        engine: what computes.
        train: clicks by :func:`pipeline.good_rows`.
        test: such clicks of the test log.
    """
    first_test = int(engine.rows(train.agg(last=_.row.max()))[0]["last"]) + 1

    def marked(clicks: Table, log: Literal["train", "test"]) -> Table:
        return clicks.mutate(owner=ibis.literal(f"{log} ") + clicks.owner)

    behind = marked(test, "test").mutate(row=_.row + first_test)
    return engine.keep(marked(train, "train").union(behind.select(train.columns))), first_test


def warn_of_same_ids(engine: Engine, train: Table, test: Table, report: Report) -> None:
    """Sessions of the test log with an id that the other log has too, which may be parts of the same session."""
    owners = test.select("owner").distinct()
    both = engine.rows(owners.semi_join(train, "owner").agg(count=_.count()))[0]["count"]
    if both:
        total = engine.rows(owners.agg(count=_.count()))[0]["count"]
        report.warnings.append(
            f"{both:,} of {total:,} test sessions have an id that a training session has too: "
            "they are sessions of their own"
        )


def warn_of_early_test(engine: Engine, train: Table, test: Table, options: PrepareOptions, report: Report) -> None:
    """Test sessions that end before the last training session does: such a test set is no later period."""
    latest = engine.rows(train.agg(latest=_.date.max()))[0]["latest"]
    if latest is None:
        return
    early = engine.rows(test.filter(_.date < latest).agg(count=_.session.nunique()))[0]["count"]
    if early:
        total = engine.rows(test.agg(count=_.session.nunique()))[0]["count"]
        report.warnings.append(
            f"{early:,} of {total:,} test sessions end before the last training session does, at "
            f"{show_time(latest, options.zone)}: the test set is not a later period"
        )
