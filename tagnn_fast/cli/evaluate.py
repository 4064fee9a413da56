"""``tagnn-fast evaluate``: a run's model on test sessions, beside four baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli.console import console
from tagnn_fast.evaluation.evaluate import evaluate as evaluate_run
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import show


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    dataset: Annotated[
        Optional[Path],
        typer.Option(help="Another data set folder with the run's items, as after an update; its own if not given."),
    ] = None,
) -> None:
    """Score a run's model on its data set's test sessions, beside V-SkNN, sequential rules and popularity.

    Each call is a look at the test set, and is added to test_reads.jsonl in the run folder. Where the data set has been
    updated since, targets without a row in the run are misses, of the baselines too, which know all of the data set.
    """
    show(evaluate_run(open_run(run), dataset), console)
