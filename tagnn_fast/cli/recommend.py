"""``tagnn-fast recommend``: the best items for one session, or for a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import pyarrow as pa
import typer

from tagnn_fast.cli.console import Table, console, say
from tagnn_fast.data import Vocabulary
from tagnn_fast.data.session_files import SessionPart, read_sessions
from tagnn_fast.data.table_files import TableWriter
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.run import open_run


def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    items: Annotated[Optional[list[str]], typer.Argument(help="Item ids of one session, oldest click first.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many items to recommend, if there are so many.")] = 20,
    exclude_clicked: Annotated[
        bool, typer.Option("--exclude-clicked", help="Recommend to no session what it has clicked on.")
    ] = False,
    input: Annotated[
        Optional[Path],
        typer.Option(
            help="Sessions to answer. CSV: a column items with ids between spaces, or a JSON list in a cell, and maybe "
            "a column session with names. JSON lines (.jsonl): a list in each line, or an object with items and maybe "
            "session. Parquet: a column items of lists, maybe a column session. Sessions without names are numbered "
            "from 0."
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            help="CSV, JSON lines (.jsonl) or Parquet to write: session, rank, item, score, answer (model, popularity "
            "or error), skipped, error."
        ),
    ] = None,
) -> None:
    """Recommend for a session on the command line, or for a file of sessions.

    Items that the model does not know are skipped; a session of which it knows nothing gets the most popular items, and
    the answer says so.

    A row of the file that cannot be used is a row of the output, in its place, with the error; all others are answered,
    and the command then ends with status 1.
    """
    if bool(items) == bool(input) or bool(input) != bool(output):
        raise ValueError("recommend: expected item ids, or --input and --output")
    recommender = open_run(run).recommender()
    if items:
        answer = recommender.recommend([items], k, exclude_clicked)
        console.print(recommendation_table(answer, items, recommender.vocabulary))
    elif input is not None and output is not None:
        _recommend_file(recommender, input, output, k, exclude_clicked)


def _recommend_file(recommender: Recommender, source: Path, output: Path, k: int, exclude_clicked: bool) -> None:
    count, failed, first = 0, 0, ""
    with TableWriter(output) as writer:
        for part in read_sessions(source):
            answers = _answers(recommender, part, k, exclude_clicked)
            writer.write(answers)
            errors = answers["error"].drop_null()
            first = first or (errors[0].as_py() if len(errors) else "")
            count, failed = count + len(part.names), failed + len(errors)
    longest = min(k, len(recommender.vocabulary))
    say(f"wrote {output}: {'up to ' if exclude_clicked else ''}{longest} items for each of {count - failed:,} sessions")
    if failed:
        raise ValueError(
            f"{source}: {failed:,} of {count:,} rows could not be answered, see 'error' in {output}; the first: {first}"
        )


def _answers(recommender: Recommender, part: SessionPart, k: int, exclude_clicked: bool) -> pa.Table:
    """What is recommended to each session, or its error, in their order."""
    errors = list(part.errors)
    for place, items in enumerate(part.items):
        try:
            recommender.vocabulary.check_ids(items)
        except TypeError as error:
            errors[place] = str(error)
    usable = np.array([place for place, error in enumerate(errors) if error is None], np.int64)
    answers = recommender.recommend([part.items[place] for place in usable], k, exclude_clicked)
    session = usable[answers["session"].to_numpy()]
    for place in np.setdiff1d(usable, session):
        errors[place] = "expected an item to recommend, got none that was not clicked"
    failed = np.array([place for place, error in enumerate(errors) if error is not None], np.int64)
    found = pa.table(
        {
            "answer": pa.array(["error"] * len(failed), pa.string()),
            "error": pa.array([f"{part.places[place]}: {errors[place]}" for place in failed], pa.string()),
        }
    )
    together = pa.concat_tables([answers.drop_columns("session"), found], promote_options="default")
    session = np.concatenate([session, failed])
    order = np.argsort(session, kind="stable")
    return together.take(order).add_column(0, "session", part.names.take(pa.array(session[order])))


def recommendation_table(answer: pa.Table, items: list[str], vocabulary: Vocabulary) -> Table:
    """The answer for one session, for people; with titles, if the data set has any."""
    title = f"after {' '.join(items)}"
    if answer.num_rows == 0:
        return Table(title=f"{title}: there is no item that was not clicked")
    source, skipped = answer["answer"][0].as_py(), answer["skipped"][0].as_py()
    if source == "popularity":
        title += ": no item of it is known, so the most popular ones"
    elif skipped:
        title += f" ({skipped} unknown, skipped)"
    titled = vocabulary.titles is not None
    table = Table(title=title)
    for column in ("rank", "item", "clicks in training" if source == "popularity" else "score"):
        table.add(column, right=True)
    if titled:
        table.add("title")
    for row in answer.to_pylist():
        score = f"{row['score']:,.0f}" if source == "popularity" else f"{row['score']:.4f}"
        named = [vocabulary.title(row["item"]) or ""] if titled else []
        table.add_row(str(row["rank"]), str(row["item"]), score, *named)
    return table
