"""``tagnn-fast recommend``: the best items for one session, or for a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Optional

import typer

from tagnn_fast.cli.console import console, say
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
from tagnn_fast.data import Vocabulary
from tagnn_fast.progress import shown
from tagnn_fast.recommend_files import Asked, FileAnswer, item_ids, recommend_file
from tagnn_fast.recommendations import POPULAR, Recommendations
from tagnn_fast.scoring import open_model, score_logs, score_sessions
from tagnn_fast.tables import Table

_OF_LOGS = (
    *("format", "session", "user", "item", "time", "time_unit", "time_format", "event", "events", "separator", "quote"),
    *("columns", "encoding", "sessions", "gap", "time_zone", "from_time", "until_time", "order", "collapse_repeats"),
    "max_session_clicks",
)


def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder, or an exported one, which is a program.")],
    items: Annotated[Optional[list[str]], typer.Argument(help="Item ids of one session, oldest click first.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many items to recommend, if there are so many.")] = 20,
    exclude_clicked: Annotated[
        bool, typer.Option("--exclude-clicked", help="Recommend to no session what it has clicked on.")
    ] = False,
    candidates: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="ID|@FILE",
            help="Recommend this item, or those of a text file with an id a line, and no others; can be given again.",
        ),
    ] = None,
    exclude: Annotated[
        Optional[list[str]],
        typer.Option(metavar="ID|@FILE", help="Do not recommend this item, or those of a file; can be given again."),
    ] = None,
    input: Annotated[
        Optional[Path],
        typer.Option(
            help="Sessions to answer. CSV: a column items with ids between spaces, or a JSON list in a cell, and maybe "
            "a column session with names. JSON lines (.jsonl): a list in each line, or an object with items and maybe "
            "session. Parquet: a column items of lists, maybe a column session. Sessions without names are numbered "
            "from 0."
        ),
    ] = None,
    from_logs: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="LOG",
            help="A log to cut into sessions and answer, instead of --input: a file, a folder of parts or a pattern; "
            "can be given again. The options behind --master say what it looks like, as for `prepare logs`.",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            help="CSV, JSON lines (.jsonl) or Parquet to write: session, rank, item, score, answer (model, popularity "
            "or error), skipped, error. Or, by a name without such an ending, a folder to make: of Parquet files that "
            "have the session's number, too."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, this process; shards, several with rows of a run's item table in each; or spark or ray, whose "
            "workers must see the same folders."
        ),
    ] = "local",
    master: Annotated[
        Optional[str],
        typer.Option(
            help="Spark's or Ray's address; local[*], or such as local[2], two workers or shards on this machine."
        ),
    ] = None,
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
    sessions: SessionsBy = None,
    gap: Gap = None,
    time_zone: TimeZone = None,
    from_time: FromTime = None,
    until_time: UntilTime = None,
    order: Order = None,
    collapse_repeats: CollapseRepeats = None,
    max_session_clicks: MaxSessionClicks = None,
    max_bad_rows: MaxBadRows = 0,
) -> None:
    """Recommend for a session on the command line, for a file of sessions, or for those of a log.

    Items that the model does not know are skipped; a session of which it knows nothing gets the most popular items, and
    the answer says so.

    A row of the file that cannot be used is a row of the output, in its place, with the error; all others are answered,
    and the command then ends with status 1.
    """
    of_logs = {name: value for name, value in locals().items() if name in _OF_LOGS and value is not None}
    if sum(map(bool, (items, input, from_logs))) != 1 or bool(output) == bool(items):
        raise ValueError("recommend: expected item ids, or --input and --output")
    asked = Asked(k, item_ids(candidates), exclude_clicked, item_ids(exclude))
    if not from_logs:
        _refuse({**of_logs, "max_bad_rows": max_bad_rows or None}, "without --from-logs")
    # Names with an ending are of files, of which those of no kind are refused; dates have no letter behind their point.
    into_file = output is not None and output.suffix[1:2].isalpha()
    if items or into_file:
        _refuse({"engine": engine if engine != "local" else None, "master": master}, "without a folder as --output")
    if items:
        model = open_model(run)
        console.print(recommendation_table(asked.of(model, [items]), items, model.vocabulary))
    elif input is not None and output is not None and into_file:
        begun, model = monotonic(), open_model(run)
        with shown(None) as told:
            answered = recommend_file(model, input, output, **vars(asked), observer=told)
        _say_answered(answered, asked, len(model.vocabulary), monotonic() - begun, str(input), output)
    elif output is not None:
        if into_file:
            raise ValueError(f"output: expected a folder, a name without an ending, with --from-logs, got {output}")
        where: dict[str, Any] = {"engine": engine, "master": master}
        if input is not None:
            summary = score_sessions(run, input, output, asked, **where)
        else:
            summary = score_logs(run, from_logs or [], output, asked, of_logs, max_bad_rows=max_bad_rows, **where)
        for reason, count in summary.bad_rows.items():
            say(f"rows dropped: {count:,}, {reason}")
        source = str(input) if input is not None else " ".join(from_logs or [])
        _say_answered(summary.answered, asked, summary.items, summary.seconds, source, output)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Options that would do nothing."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}: expected none {why}, got {value!r}")


def _say_answered(answered: FileAnswer, asked: Asked, items: int, seconds: float, source: str, output: Path) -> None:
    """What became of the sessions; an error where some could not be answered."""
    narrowed = asked.exclude_clicked or asked.candidates or asked.exclude
    longest = f"{'up to ' if narrowed else ''}{min(asked.k, items)}"
    say(f"wrote {output}: {longest} items for each of {answered.sessions - answered.failed:,} sessions")
    say(
        f"answered {answered.by_model:,} by the model, {answered.popular:,} by popularity, {answered.failed:,} not at "
        f"all, in {seconds:,.1f} s: {answered.sessions / seconds:,.0f} sessions/s"
    )
    if answered.failed:
        raise ValueError(
            f"{source}: {answered.failed:,} of {answered.sessions:,} rows could not be answered, see 'error' in "
            f"{output}; the first: {answered.first_error}"
        )


def recommendation_table(answer: Recommendations, clicked: list[str], vocabulary: Vocabulary) -> Table:
    """The answer for one session, for people; with titles, if the data set has any."""
    ((items,), (scores,), (status,)), (skipped,) = answer, answer.skipped
    title = f"after {' '.join(clicked)}"
    if not items:
        return Table(title=f"{title}: there is no item left to recommend")
    if status == POPULAR:
        title += ": no item of it is known, so the most popular ones"
    elif skipped:
        title += f" ({skipped} unknown, skipped)"
    titled = vocabulary.titles is not None
    table = Table(title=title)
    for column in ("rank", "item", "clicks in training" if status == POPULAR else "score"):
        table.add(column, right=True)
    if titled:
        table.add("title")
    for rank, (item, score) in enumerate(zip(items, scores, strict=True), 1):
        named = [vocabulary.title(item) or ""] if titled else []
        table.add_row(str(rank), str(item), f"{score:,.0f}" if status == POPULAR else f"{score:.4f}", *named)
    return table
