"""Raw logs to data sets, from start to end: what ``tagnn_fast.prepare`` and ``tagnn-fast prepare`` do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path

from tagnn_fast.checks import as_integer, check_flag, check_path
from tagnn_fast.data.dataset import Dataset, check_dataset_folder, read_dataset, write_dataset
from tagnn_fast.data.titles import FileTitles, read_titles
from tagnn_fast.extras import needed_by
from tagnn_fast.files import exclusive
from tagnn_fast.logs.arguments import Preset, check_files, log_format, prepare_options
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import FormatName, TimeUnit
from tagnn_fast.logs.frames import Logs, found_logs
from tagnn_fast.logs.options import ColdItems, IdType, Order, SessionsBy, SupportFrom, When
from tagnn_fast.logs.running import EngineName, engine_errors, start_engine, working_folder
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown

Titles = Mapping[str, str] | Mapping[int, str] | str | Path


@needed_by("prepare")
def prepare(
    logs: Logs,
    output: str | Path | None = None,
    *,
    format: FormatName | None = None,
    session: str | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    event: str | None = None,
    events: str | Iterable[str] | None = None,
    separator: str | None = None,
    quote: str | None = None,
    columns: str | Iterable[str] | None = None,
    encoding: str | None = None,
    preset: Preset = "clean",
    sessions: SessionsBy | None = None,
    gap: str | None = None,
    time_zone: str | None = None,
    from_time: When | None = None,
    until_time: When | None = None,
    order: Order | None = None,
    collapse_repeats: bool | None = None,
    max_session_clicks: int | None = None,
    minimum_length: int | None = None,
    minimum_support: int | None = None,
    until_stable: bool | None = None,
    support_from: SupportFrom | None = None,
    test: str | None = None,
    test_from: When | None = None,
    test_logs: Logs | None = None,
    maximum_length: int | None = None,
    fraction: int | None = None,
    cold_items: ColdItems | None = None,
    item_ids: IdType | None = None,
    titles: Titles | None = None,
    name: str | None = None,
    max_bad_rows: int = 0,
    force: bool = False,
    engine: EngineName = "duckdb",
    spark_master: str | None = None,
    memory: int | None = None,
    observer: Observer | None = None,
) -> Dataset:
    """A data set from raw click logs: the same that ``tagnn-fast prepare logs`` makes, by the same options.

    Sessions that end within the last day (`test`) are the test set; items with fewer than 5 clicks in the training
    sessions and sessions of one click are dropped. With `preset` "published" all is done that the published code does.

    Rows of a data frame mean what they mean in the Parquet file that it is written to: a time with a zone is an
    instant, one without is in `time_zone`; an integer is one of `time_unit` since 1970; a null is a bad row; an item
    that is a list is as many clicks.

    Args:
        logs: a data frame or table, of any library that gives a stream of Arrow's C interface; or paths of files,
            folders of parts or patterns: text, plain or compressed by gzip or zstd, JSON lines, Parquet.
        output: folder to write the data set to; must not exist. If not given, the data set is in memory alone, to be
            written by :func:`tagnn_fast.write_dataset`; a run that is trained on it keeps a copy.
        format: a log of the field; or name the columns.
        session: column with the session's id.
        user: column with the user's id, where there are no sessions or their ids are unique only with it.
        item: column with the item's id.
        time: column with the click's time.
        time_unit: see :class:`~tagnn_fast.logs.LogFormat` for this and what else has to do with files.
        time_format: of other times, like ``%d/%m/%Y %H:%M:%S``.
        event: column with the kind of event.
        events: kinds that count as clicks, a list or with commas between.
        separator: between the columns of text files.
        quote: around values of text files; empty for none.
        columns: names of all columns, for text files without a header, a list or with commas between.
        encoding: of text files.
        preset: "clean", or "published": what the published code does.
        sessions: see :class:`~tagnn_fast.logs.PrepareOptions` for this and what else is done with clicks. None is the
            preset's.
        gap: pause that ends a session of a user, like "30m".
        time_zone: of times that state none, and of days.
        from_time: leave out clicks before this.
        until_time: leave out clicks from this on.
        order: of a session's clicks.
        collapse_repeats: drop clicks on the item clicked just before.
        max_session_clicks: last clicks of longer sessions that are kept before any is counted.
        minimum_length: clicks that a session must have.
        minimum_support: clicks that an item must have.
        until_stable: repeat both until nothing changes.
        support_from: whose clicks count.
        test: length of the test period at the end, like "1d".
        test_from: first date of the test set instead.
        test_logs: the test sessions, where they are split already: `logs` then are the training sessions, and all of
            both stay as they are, unless options say otherwise; clicks on items not trained on stay as misses.
        maximum_length: last clicks of sessions that are kept in the end.
        fraction: keep the last 1/this of the training examples.
        cold_items: drop or keep test clicks on items not trained on.
        item_ids: what ids are.
        titles: by raw item id, or a file that :func:`tagnn_fast.data.read_titles` reads.
        name: of the data set; that of the folder if not given.
        max_bad_rows: rows that cannot be used are dropped and reported; not more than these, of the log and of the test
            log each.
        force: replace a data set that is at `output`.
        engine: "duckdb", on this machine; or "spark".
        spark_master: such as ``local[*]`` or ``spark://host:7077``.
        memory: megabytes that the engine may use here.
        observer: told the stages; a progress bar if not given. ``Observer()`` shows nothing.

    Raises:
        TypeError, ValueError: on options that are refused, alone or beside another; on logs that are damaged, lack a
            column or have too many bad rows; where nothing is left. Messages name options as the command line does.
        FileExistsError: where `output` is there.
        FileNotFoundError: where a path matches nothing.
        OSError: where the engine fails, on a full disk for one.
        ModuleNotFoundError: without the extra ``tagnn_fast[prepare]`` or ``tagnn_fast[spark]``, which is named.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    from tagnn_fast.logs.prepare import prepare_logs

    force = check_flag(force, "force")
    if not isinstance(name, (str, type(None))):
        raise TypeError(f"name: expected a string, got {name!r}")
    place = None if output is None else check_path(output, "output", "a folder to make")
    with engine_errors(), exclusive(place) if place is not None else nullcontext():
        form = log_format(given)
        options = prepare_options(form, preset, given)
        if place is not None:
            check_dataset_folder(place, force)
        with ExitStack() as stack:
            folder = stack.enter_context(working_folder(place))
            files = stack.enter_context(found_logs(logs, form, folder))
            check_files(files, given)
            tests: LogFiles | None = None
            if test_logs is not None:
                tests = stack.enter_context(found_logs(test_logs, form, folder, "test_logs"))
                check_files(tests, given)
                if both := set(files.paths).intersection(tests.paths):
                    raise ValueError(f"test_logs: expected other files than the logs', got {min(both)}")
            told = stack.enter_context(shown(observer))
            named = _titles(titles)
            called = name or (place.name if place is not None else "data")
            with start_engine(engine, folder, options.time_zone, spark_master, memory) as running:
                dataset = prepare_logs(running, files, form, options, called, max_bad_rows, told.stage, tests)
        dataset = dataset.with_titles(named) if named is not None else dataset
        return write_dataset(dataset, place, force) if place is not None else dataset


@needed_by("update")
def update(
    dataset: str | Path,
    logs: Logs,
    output: str | Path | None = None,
    *,
    titles: Titles | None = None,
    max_bad_rows: int = 0,
    engine: EngineName = "duckdb",
    spark_master: str | None = None,
    memory: int | None = None,
    observer: Observer | None = None,
) -> tuple[Dataset, Dataset]:
    """Add new logs to a data set, as ``tagnn-fast prepare update`` does; see :func:`update_dataset`.

    Args:
        dataset: folder of a data set that was made of logs.
        logs: the new ones, see :func:`prepare`.
        output: folder to make instead of replacing the data set.
        titles: see :func:`prepare`; they are added to those that it has.
        max_bad_rows: see :func:`prepare`.
        engine: see :func:`prepare`.
        spark_master: see :func:`prepare`.
        memory: see :func:`prepare`.
        observer: see :func:`prepare`.

    Returns:
        The data set before and after. Where no click is new, the second has the `source` of the first.

    Raises:
        TypeError, ValueError, OSError, ModuleNotFoundError: see :func:`prepare` and :func:`update_dataset`.
    """
    from tagnn_fast.logs.update import recorded, update_dataset

    folder = check_path(dataset, "dataset", "a data set's folder")
    place = folder if output is None else check_path(output, "output", "a folder to make")
    with engine_errors(), exclusive(place):
        before = read_dataset(folder)
        form, options = recorded(before)
        check_dataset_folder(place, output is None)
        with working_folder(place) as work, found_logs(logs, form, work) as files, shown(observer) as told:
            named = _titles(titles)
            with start_engine(engine, work, options.time_zone, spark_master, memory) as running:
                after = update_dataset(running, files, before, max_bad_rows, told.stage)
        after = after.with_titles(named) if named is not None else after
        if after is not before or output is not None:
            after = write_dataset(after, place, output is None)
    return before, after


def _titles(titles: Titles | None) -> Mapping[str, str] | None:
    if titles is None or isinstance(titles, (str, Path)):
        return None if titles is None else read_titles(check_path(titles, "titles", "a file"))
    if isinstance(titles, FileTitles):
        return titles
    if not isinstance(titles, Mapping):
        raise TypeError(f"titles: expected a file, or titles by item id, got {type(titles).__name__}")
    for raw_id, title in titles.items():
        if not isinstance(title, str) or not (isinstance(raw_id, str) or as_integer(raw_id) is not None):
            raise TypeError(f"titles: expected strings by item id, got {title!r} for {raw_id!r}")
    return {str(raw_id): title for raw_id, title in titles.items()}
