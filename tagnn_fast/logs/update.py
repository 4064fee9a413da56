"""New logs added to a data set: the sessions that all clicks together give; rows of old items stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.logs import pipeline
from tagnn_fast.logs.assemble import assemble
from tagnn_fast.logs.clicks import count_sessions, store_clicks, unite
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions
from tagnn_fast.logs.pipeline import Report
from tagnn_fast.logs.prepare import Advance, describe, read_clicks, run_pipeline, shortened


def recorded(dataset: Dataset) -> tuple[LogFormat, PrepareOptions]:
    """The format and the options that a data set was made with.

    Raises:
        ValueError: where it was not made of logs, or does not say with which options.
    """
    source: Mapping[str, Any] = dataset.source
    if source.get("kind") != "logs" or dataset.raw_test is None:
        raise ValueError(f"{dataset.name}: expected a data set made of logs, got one of {source.get('kind')!r}")
    if source.get("test_files"):
        raise ValueError(f"{dataset.name}: expected a test set that is the last period, got one of test logs")
    try:
        form: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in source["format"].items()
            if key != "paper"  # of no use here, and called otherwise now
        }
        return LogFormat(**form), PrepareOptions(**source["options"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{dataset.name}: expected the log's format and the options in its record: {error}") from None


def update_dataset(
    engine: Engine, files: LogFiles, dataset: Dataset, max_bad_rows: int = 0, advance: Advance = lambda stage: None
) -> Dataset:
    """What `prepare_logs` makes of the old logs and the new ones together, by the options of the data set.

    - The clicks are the old ones in their order, and behind them, in theirs, those of the new logs that are not there
      yet: of clicks with the same owner, item, time and place there are then as many as in the old logs or the new
      ones, whichever have more. So logs may overlap, be sent again, or be older than those before; sessions go on from
      one to the next.
    - The test set is the last period of all clicks. A first date of it, `test_from`, was one for the old logs: it is
      dropped, and `test` holds from then on.
    - An item that has a row keeps it, and new ones get rows behind, in the order of their first training click. An item
      that is no longer trained on keeps its row too, with no clicks.
    - Item ids have the type of the data set; its titles go on, and find the items that get a row.

    Args:
        engine: what reads, filters and splits.
        files: of the new logs; files of one call are one log, whose equal clicks are not equal by being sent again.
        dataset: the data set.
        max_bad_rows: so many rows that cannot be used are dropped and reported; more are an error.
        advance: called with the name of each stage before it begins.

    Returns:
        The new data set, whose record has one more of ``updates``, which says what was read, how many ``clicks`` of it
        were new or repeated, how many ``sessions`` new, continued or repeated, and the fingerprint of the data set
        before. `dataset` itself where no click is new.

    Raises:
        ValueError: on a data set that was not made of logs, or by a version that did not keep clicks; on damage, on too
            many bad rows, and on logs without a click that can be used.
    """
    form, options = recorded(dataset)
    if dataset.clicks is None:
        raise ValueError(
            f"{dataset.name}: expected a data set that keeps the clicks of its logs, got one of an earlier version or "
            "without its clicks.parquet: prepare it again from all logs"
        )
    options = dataclasses.replace(options, test_from=None)
    report, counts = Report(), dict[str, Any]()
    integers = dataset.vocabulary.integers
    parsed = read_clicks(engine, files, form, options, report, max_bad_rows, integers, advance)
    union = unite(engine, dataset.clicks, pipeline.good_rows(parsed))
    if union.counts["new"] == 0:
        return dataset
    stored = store_clicks(engine, union.clicks)
    prepared = run_pipeline(
        engine,
        union.clicks,
        form,
        options,
        report,
        advance,
        look=lambda sessions: counts.update(count_sessions(engine, union, sessions)),
    )
    splits = shortened(prepared, options, dataset.name)
    news = describe(engine, files, form, options, prepared)
    news["item_ids"] = "integer" if dataset.vocabulary.integers else "string"
    after = assemble(splits, prepared.codes, prepared.raw_ids, options, dataset.name, news, dataset.vocabulary)
    added = {key: value for key, value in news.items() if key not in ("kind", "format", "options", "item_ids")}
    added.update(clicks=union.counts, sessions=counts, fingerprint_before=dataset.fingerprint())
    updates = [*dataset.source.get("updates", []), added]
    source = {**dataset.source, "options": options.as_json(), "updates": updates}
    return dataclasses.replace(after, source=source, clicks=stored, titles=dataset.titles).with_titles({})
