"""``tagnn-fast recommend``: the best items for one session, or for a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli.console import console, say
from tagnn_fast.data import Vocabulary
from tagnn_fast.recommend_files import item_ids, recommend_file
from tagnn_fast.recommendations import POPULAR, Recommendations
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import Table


def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
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
    chosen, excluded = item_ids(candidates), item_ids(exclude)
    if items:
        answer = recommender.recommend([items], k, candidates=chosen, exclude_clicked=exclude_clicked, exclude=excluded)
        console.print(recommendation_table(answer, items, recommender.vocabulary))
    elif input is not None and output is not None:
        answered = recommend_file(
            recommender, input, output, k, candidates=chosen, exclude_clicked=exclude_clicked, exclude=excluded
        )
        longest = f"{'up to ' if exclude_clicked or chosen or excluded else ''}{min(k, len(recommender.vocabulary))}"
        say(f"wrote {output}: {longest} items for each of {answered.sessions - answered.failed:,} sessions")
        if answered.failed:
            raise ValueError(
                f"{input}: {answered.failed:,} of {answered.sessions:,} rows could not be answered, see 'error' in "
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
