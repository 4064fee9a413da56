"""``tagnn-fast similar``: the items most like some items, by the model's own vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagnn_fast.cli.console import console
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import Table


def similar(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    items: Annotated[list[str], typer.Argument(help="Item ids.")],
    k: Annotated[int, typer.Option("--k", "-k", help="How many items to show for each, if there are so many.")] = 20,
) -> None:
    """Show the items most like each of some items, by the cosine of the model's item vectors."""
    recommender = open_run(run).recommender()
    vocabulary = recommender.vocabulary
    for item in items:
        found = recommender.similar([item], k)
        table = Table(title=f"like {item}")
        for column in ("rank", "item", "cosine"):
            table.add(column, right=True)
        if vocabulary.titles is not None:
            table.add("title")
        for row in found.to_pylist():
            titled = [vocabulary.title(row["similar"]) or ""] if vocabulary.titles is not None else []
            table.add_row(str(row["rank"]), str(row["similar"]), f"{row['cosine']:.4f}", *titled)
        console.print(table)
