"""``tagnn-fast recommend``: the best items for one session, or for a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import pyarrow as pa
import typer
from rich.table import Table

from tagnn_fast.cli.console import console, say
from tagnn_fast.data import Vocabulary
from tagnn_fast.data.session_files import TableWriter, read_session_file
from tagnn_fast.training.run import open_run

BATCH = 512  # sessions scored at once


def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    items: Annotated[Optional[list[str]], typer.Argument(help="Item ids of one session, oldest click first.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="How many items to recommend.")] = 20,
    input: Annotated[
        Optional[Path],
        typer.Option(
            help="Parquet (items: list) or CSV (items: ids with spaces between); a column session names them."
        ),
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option(help="Parquet or CSV to write: session, rank, item, score, answer, skipped.")
    ] = None,
) -> None:
    """Recommend for a session on the command line, or for a file of sessions.

    Items that the model does not know are skipped; a session of which it knows nothing gets the most popular items, and
    the answer says so.
    """
    if bool(items) == bool(input) or bool(input) != bool(output):
        raise ValueError("recommend: expected item ids, or --input and --output")
    recommender = open_run(run).load_recommender()
    if items:
        console.print(recommendation_table(recommender.recommend([items], k), items, recommender.vocabulary))
    elif input is not None and output is not None:
        names, sessions = read_session_file(input)
        with TableWriter(output) as writer:
            for begin in range(0, max(1, len(sessions)), BATCH):  # an empty table for no sessions
                part = recommender.recommend(sessions.slice(begin, BATCH), k)
                writer.write(part.set_column(0, "session", names.slice(begin).take(part["session"])))
        say(f"wrote {output}: {k} items for each of {len(sessions):,} sessions")


def recommendation_table(answer: pa.Table, items: list[str], vocabulary: Vocabulary) -> Table:
    """The answer for one session, for people; with titles, if the data set has any."""
    source, skipped = answer["answer"][0].as_py(), answer["skipped"][0].as_py()
    title = f"after {' '.join(items)}"
    if source == "popularity":
        title += ": no item of it is known, so the most popular ones"
    elif skipped:
        title += f" ({skipped} unknown, skipped)"
    table = Table(title=title, title_justify="left")
    for column in ("rank", "item", "clicks in training" if source == "popularity" else "score"):
        table.add_column(column, justify="right")
    titled = vocabulary.titles is not None
    if titled:
        table.add_column("title")
    for row in answer.to_pylist():
        score = f"{row['score']:,.0f}" if source == "popularity" else f"{row['score']:.4f}"
        named = [vocabulary.title(row["item"]) or ""] if titled else []
        table.add_row(str(row["rank"]), str(row["item"]), score, *named)
    return table
