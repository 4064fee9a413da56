"""``tagnn-fast prepare logs`` and ``prepare update``: raw click logs to a data set folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from tagnn_fast.cli.console import console, say, stage_bar
from tagnn_fast.cli.info import dataset_table, steps_table
from tagnn_fast.cli.log_options import check_files, log_format, prepare_options
from tagnn_fast.data import Dataset, read_dataset, read_titles, write_dataset
from tagnn_fast.data.dataset import check_dataset_folder
from tagnn_fast.files import exclusive, workspace

if TYPE_CHECKING:
    from tagnn_fast.logs import Engine, PrepareOptions

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
MaxBadRows = Annotated[
    int, typer.Option(min=0, help="Rows that cannot be read are dropped and reported; not more than these.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a data set that is there.")]
Titles = Annotated[
    Optional[Path], typer.Option(help="CSV or TSV with a header: item id, title. Shown with recommendations.")
]


def logs(
    logs: Logs,
    output: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    format: Annotated[
        Optional[str],
        typer.Option(
            help="yoochoose, diginetica, retailrocket, tmall, nowplaying, lastfm, 30music or otto; or name the columns "
            "below."
        ),
    ] = None,
    session_column: Annotated[Optional[str], typer.Option(help="Column with the session's id.")] = None,
    user_column: Annotated[
        Optional[str],
        typer.Option(
            help="Column with the user's id, where there are no sessions or their ids are unique only with it."
        ),
    ] = None,
    item_column: Annotated[Optional[str], typer.Option(help="Column with the item's id.")] = None,
    time_column: Annotated[Optional[str], typer.Option(help="Column with the click's time.")] = None,
    time_unit: Annotated[
        Optional[str], typer.Option(help="iso; or seconds, milliseconds, microseconds or nanoseconds since 1970.")
    ] = None,
    time_format: Annotated[Optional[str], typer.Option(help="Of other times, like %d/%m/%Y %H:%M:%S.")] = None,
    event_column: Annotated[Optional[str], typer.Option(help="Column with the kind of event.")] = None,
    events: Annotated[Optional[str], typer.Option(help="Kinds that count as clicks, with commas between.")] = None,
    separator: Annotated[Optional[str], typer.Option(help="Between columns, such as :: or \\t, a tab.")] = None,
    quote: Annotated[Optional[str], typer.Option(help="Around values; empty for none.")] = None,
    columns: Annotated[Optional[str], typer.Option(help="Names of all columns, for files without a header.")] = None,
    encoding: Annotated[Optional[str], typer.Option(help="Of text, such as latin-1, cp1252 or utf-16; utf-8.")] = None,
    preset: Annotated[str, typer.Option(help="clean, or paper: what the published code does.")] = "clean",
    sessions: Annotated[Optional[str], typer.Option(help="given; or, of a user's clicks, gap or day.")] = None,
    gap: Annotated[Optional[str], typer.Option(help="Pause that ends a session, like 30m.")] = None,
    time_zone: Annotated[Optional[str], typer.Option(help="Of times that state none, and of days; UTC.")] = None,
    from_time: Annotated[Optional[str], typer.Option("--from", help="Leave out clicks before this.")] = None,
    until_time: Annotated[Optional[str], typer.Option("--until", help="Leave out clicks from this on.")] = None,
    order: Annotated[Optional[str], typer.Option(help="Of a session's clicks: time or file.")] = None,
    collapse_repeats: Annotated[
        Optional[bool], typer.Option(help="Drop clicks on the item clicked just before.")
    ] = None,
    max_session_clicks: Annotated[
        Optional[int],
        typer.Option(help="Last clicks of longer sessions that are kept before any is counted: for robots."),
    ] = None,
    minimum_length: Annotated[Optional[int], typer.Option(help="Clicks that a session must have; 2.")] = None,
    minimum_support: Annotated[Optional[int], typer.Option(help="Clicks that an item must have; 5.")] = None,
    until_stable: Annotated[Optional[bool], typer.Option(help="Repeat both until nothing changes.")] = None,
    support_from: Annotated[Optional[str], typer.Option(help="train or all: whose clicks count.")] = None,
    test: Annotated[Optional[str], typer.Option(help="Length of the test period at the end, like 1d.")] = None,
    test_from: Annotated[Optional[str], typer.Option(help="First date of the test set instead.")] = None,
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
    training sessions and sessions of one click are dropped. --preset paper does what the published code
    does: support is counted in all sessions, and those exactly at the split are lost.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    with _engine_errors(), _steps_of_nothing(), exclusive(output):
        from tagnn_fast.logs import find_files, prepare_logs

        form = log_format(given)
        options = prepare_options(form, preset, given)
        check_dataset_folder(output, force)
        files = find_files(logs, form)
        check_files(files, given)
        read = read_titles(titles) if titles is not None else None
        with _running(engine, output, options, spark_master, memory) as (running, advance):
            dataset = prepare_logs(running, files, form, options, name or output.name, max_bad_rows, advance)
        _write(_titled(dataset, read), output, force)


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
    with _engine_errors(), _steps_of_nothing(), exclusive(output or dataset):
        from tagnn_fast.logs import find_files, update_dataset
        from tagnn_fast.logs.update import recorded

        before = read_dataset(dataset)
        form, options = recorded(before)
        check_dataset_folder(output or dataset, output is None)
        files = find_files(logs, form)
        read = read_titles(titles) if titles is not None else None
        with _running(engine, output or dataset, options, spark_master, memory) as (running, advance):
            after = update_dataset(running, files, before, max_bad_rows, advance)
        if after is before:
            say(f"nothing new: all clicks of these logs are in {dataset} already")
            if output is None and read is None:
                return
        else:
            _say_what_came(after, options)
        _write(_titled(after, read), output or dataset, output is None)


def _titled(dataset: Dataset, titles: Mapping[str, str] | None) -> Dataset:
    """The data set with titles, and in a line how many have found an item."""
    if titles is None:
        return dataset
    after = dataset.with_titles(titles)
    items = set(map(str, after.vocabulary.raw_ids.to_pylist()))
    matched, without = len(titles.keys() & items), len(items - after.titles.keys())
    say(f"titles: {matched:,} of {len(titles):,} are of items; {without:,} of {len(items):,} items have none")
    return after


def _say_what_came(dataset: Dataset, before: PrepareOptions) -> None:
    for what in ("clicks", "sessions"):
        counts = dataset.source["updates"][-1][what]
        say(f"{what}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    if before.test_from is not None:
        say(f"test set: the last {before.test} from now on; {before.test_from} (--test-from) was for the first logs")


@contextmanager
def _running(
    name: str, output: Path, options: PrepareOptions, master: str | None, memory: int | None
) -> Iterator[tuple[Engine, Callable[[str], None]]]:
    """The engine, in a folder beside the output, and what shows its progress."""
    from tagnn_fast.logs import DuckDB, Spark

    if name not in ("duckdb", "spark"):
        raise ValueError(f"engine: expected duckdb or spark, got {name!r}")
    if name == "duckdb" and master is not None:
        raise ValueError(f"spark_master: expected none with --engine duckdb, got {master!r}")
    with workspace(output) as folder:
        start = DuckDB if name == "duckdb" else partial(Spark, master=master or "local[*]")
        with start(folder, options.time_zone, memory) as engine, stage_bar() as advance:
            yield engine, advance


@contextmanager
def _engine_errors() -> Iterator[None]:
    """What an engine cannot do, a full disk for one, is said in a line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        if type(error).__module__.split(".")[0] not in ("duckdb", "_duckdb", "pyspark", "py4j"):
            raise
        lines = str(error).strip().splitlines()
        # Of an exception in Java, the first line says how Python called it.
        line = lines[1] if len(lines) > 1 and lines[0].startswith("An error occurred while calling") else lines[0]
        raise OSError(f"prepare: {line}") from error


@contextmanager
def _steps_of_nothing() -> Iterator[None]:
    """Where nothing is left, the table says after which step."""
    try:
        yield
    except ValueError as error:
        if (report := getattr(error, "report", None)) is not None:
            console.print(steps_table(dataclasses.asdict(report)))
        raise


def _write(dataset: Dataset, output: Path, replace: bool) -> None:
    write_dataset(dataset, output, replace)
    source = dataset.source["updates"][-1] if "updates" in dataset.source else dataset.source
    console.print(steps_table(source))
    for line in _findings(source):
        say(line)
    console.print(dataset_table(dataset.name, dataset.statistics()))
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
