"""``tagnn-fast prepare logs`` and ``prepare update``: raw click logs to a data set folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from tagnn_fast.cli.console import console, say
from tagnn_fast.cli.info import dataset_table, say_periods, steps_table
from tagnn_fast.cli.log_options import (
    CollapseRepeats,
    Columns,
    Encoding,
    Event,
    Events,
    Format,
    FromTime,
    Gap,
    Item,
    MaxBadRows,
    MaxSessionClicks,
    Order,
    Quote,
    Separator,
    Session,
    SessionsBy,
    Time,
    TimeFormat,
    TimeUnit,
    TimeZone,
    UntilTime,
    User,
)
from tagnn_fast.data import Dataset, read_titles
from tagnn_fast.data.titles import FileTitles
from tagnn_fast.logs.jobs import prepare
from tagnn_fast.logs.jobs import update as update_logs

Logs = Annotated[
    list[str],
    typer.Argument(
        help="Log files, folders of parts, or patterns: text, plain or compressed by gzip or zstd, JSON lines, Parquet."
    ),
]
EngineName = Annotated[str, typer.Option("--engine", help="duckdb, on this machine; or spark.")]
SparkMaster = Annotated[Optional[str], typer.Option(help="local[*], or such as local[*] or spark://host:7077.")]
Memory = Annotated[
    Optional[int],
    typer.Option(min=200, help="Megabytes that it may use here; 3000, or a third of the machine's."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a data set that is there.")]
Titles = Annotated[
    Optional[Path], typer.Option(help="CSV or TSV with a header: item id, title. Shown with recommendations.")
]


def logs(
    logs: Logs,
    output: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    format: Format = None,
    session: Session = None,
    user: User = None,
    item: Item = None,
    time: Time = None,
    time_unit: TimeUnit = None,
    time_format: TimeFormat = None,
    event: Event = None,
    events: Events = None,
    separator: Separator = None,
    quote: Quote = None,
    columns: Columns = None,
    encoding: Encoding = None,
    preset: Annotated[str, typer.Option(help="clean, or published: what the published code does.")] = "clean",
    sessions: SessionsBy = None,
    gap: Gap = None,
    time_zone: TimeZone = None,
    from_time: FromTime = None,
    until_time: UntilTime = None,
    order: Order = None,
    collapse_repeats: CollapseRepeats = None,
    max_session_clicks: MaxSessionClicks = None,
    minimum_length: Annotated[Optional[int], typer.Option(help="Clicks that a session must have; 2.")] = None,
    minimum_support: Annotated[Optional[int], typer.Option(help="Clicks that an item must have; 5.")] = None,
    until_stable: Annotated[Optional[bool], typer.Option(help="Repeat both until nothing changes.")] = None,
    support_from: Annotated[Optional[str], typer.Option(help="train or all: whose clicks count.")] = None,
    test: Annotated[Optional[str], typer.Option(help="Length of the test period at the end, like 1d.")] = None,
    test_from: Annotated[Optional[str], typer.Option(help="First date of the test set instead.")] = None,
    test_logs: Annotated[
        Optional[list[str]],
        typer.Option(help="Logs of the test sessions, where they are split already; all sessions then stay."),
    ] = None,
    maximum_length: Annotated[
        Optional[int], typer.Option(help="Last clicks of sessions that are kept in the end.")
    ] = None,
    fraction: Annotated[Optional[int], typer.Option(help="Keep the last 1/this of the training examples.")] = None,
    cold_items: Annotated[Optional[str], typer.Option(help="drop or keep test clicks on items not trained on.")] = None,
    item_ids: Annotated[
        Optional[str], typer.Option(help="integer, string or auto: integers if all are that remain.")
    ] = None,
    titles: Titles = None,
    name: Annotated[Optional[str], typer.Option(help="What to call it; the folder's name if not given.")] = None,
    max_bad_rows: MaxBadRows = 0,
    force: Force = False,
    engine: EngineName = "duckdb",
    spark_master: SparkMaster = None,
    memory: Memory = None,
) -> None:
    """From raw click logs.

    Sessions that end within the last day (--test) are the test set; items with fewer than 5 clicks in the
    training sessions and sessions of one click are dropped. --preset published does what the published code
    does: support is counted in all sessions, and those exactly at the split are lost.
    """
    given: dict[str, Any] = {**locals(), "test_logs": test_logs or None}
    if titles is not None:
        given["titles"] = read_titles(titles)
    with _steps_of_nothing():
        dataset = prepare(**given)
    _say_titles(dataset, given["titles"])
    _say_dataset(dataset, output)


def update(
    dataset: Annotated[Path, typer.Argument(help="Data set folder made by `prepare logs`.")],
    logs: Logs,
    output: Annotated[Optional[Path], typer.Option(help="Folder to make instead of replacing the data set.")] = None,
    titles: Titles = None,
    max_bad_rows: MaxBadRows = 0,
    engine: EngineName = "duckdb",
    spark_master: SparkMaster = None,
    memory: Memory = None,
) -> None:
    """Add a new day's logs to a data set.

    To what `prepare logs` makes of the old clicks and the new ones together, by the same options: the last period of
    all is the test set, sessions go on, and clicks that are there already are not added. Items keep their rows, new
    ones get rows behind them. Logs may overlap, come late, or come twice.
    """
    given: dict[str, Any] = dict(locals())
    if titles is not None:
        given["titles"] = read_titles(titles)
    with _steps_of_nothing():
        before, after = update_logs(**given)
    if after.source is before.source:
        say(f"nothing new: all clicks of these logs are in {dataset} already")
        if after is before:
            return
    else:
        _say_what_came(after, before)
    _say_titles(after, given["titles"])
    _say_dataset(after, output or dataset)


def _say_titles(dataset: Dataset, titles: FileTitles | None) -> None:
    """How many titles have found an item."""
    if titles is not None:
        items = set(map(str, dataset.vocabulary.raw_ids.to_pylist()))
        matched, without = len(titles.keys() & items), len(items - dataset.titles.keys())
        say(f"titles: {matched:,} of {len(titles):,} are of items; {without:,} of {len(items):,} items have none")
        say(f"titles: the first line names the columns {', '.join(titles.columns)}")


def _say_what_came(after: Dataset, before: Dataset) -> None:
    for what in ("clicks", "sessions"):
        counts = after.source["updates"][-1][what]
        say(f"{what}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    options = before.source["options"]
    if first := options.get("test_from"):
        say(f"test set: the last {options['test']} from now on; {first} (--test-from) was for the first logs")


@contextmanager
def _steps_of_nothing() -> Iterator[None]:
    """Where nothing is left, the table says after which step."""
    try:
        yield
    except ValueError as error:
        if (report := getattr(error, "report", None)) is not None:
            console.print(steps_table(dataclasses.asdict(report)))
        raise


def _say_dataset(dataset: Dataset, output: Path) -> None:
    source = dataset.source["updates"][-1] if "updates" in dataset.source else dataset.source
    console.print(steps_table(source))
    for line in _findings(source):
        say(line)
    console.print(dataset_table(dataset.name, dataset.statistics()))
    say_periods(dataset)
    say(f"wrote {output}")


def _findings(source: Mapping[str, Any]) -> Iterator[str]:
    """What is known about a log beside the steps."""
    for step in source["steps"]:
        if "clicks_cut" in step:
            yield f"{step['step']}: {step['clicks_cut']:,} clicks cut off {step['sessions_cut']:,} sessions"
    if times := source.get("times"):
        yield "times of clicks: " + ", ".join(f"{name} {time}" for name, time in times.items())
    if "item_ids" in source:
        line = f"item ids: {source['item_ids']}"
        if others := source.get("ids_that_are_no_integers"):
            line += f", since {others['count']:,} of {others['of']:,} are no integers, such as {others['some'][0]!r}"
        yield line
    for warning in source.get("warnings", ()):
        yield f"warning: {warning}"
