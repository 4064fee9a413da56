"""``tagnn-fast evaluate``: a run's model on test sessions, beside three baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli.console import ProgressObserver, console, figures_table, main_figures, progress_bar, say
from tagnn_fast.data import Dataset, PrefixExamples, read_dataset
from tagnn_fast.data.other_rows import by_rows_of
from tagnn_fast.evaluation.baselines import popularity, sequential_rules, session_popularity
from tagnn_fast.evaluation.evaluate import evaluate as score
from tagnn_fast.evaluation.evaluate import evaluate_model
from tagnn_fast.runs.run import Run, open_run


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    dataset: Annotated[
        Optional[Path],
        typer.Option(help="Another data set folder with the run's items, as after an update; its own if not given."),
    ] = None,
) -> None:
    """Score a run's model on its data set's test sessions, beside sequential rules and two kinds of popularity.

    Each call is a look at the test set, and is added to test_reads.jsonl in the run folder. Where the data set has been
    updated since, targets without a row in the run are misses, of the baselines too, which know all of the data set.
    """
    opened = open_run(run)
    data = read_dataset(dataset if dataset is not None else Path(opened.dataset["path"]))
    if dataset is None and "updates" not in data.source:
        opened.check_dataset(data)
    seen = by_rows_of(opened.vocabulary, data)
    console.print(figures_table(test_figures(opened, seen), f"{data.name}, test sessions, in percent"))
    if seen is not data:
        counts = seen.statistics()["test"]
        say(
            f"targets without a row in the run, which are misses: {counts['targets_without_a_row']:,} of "
            f"{counts['examples']:,}; the data set has {len(data.vocabulary) - len(seen.vocabulary):,} items more"
        )
    say(f"looks at a test set so far: {len(opened.test_reads())}")


def test_figures(run: Run, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Figures of the model and the baselines at the longest cutoff."""
    examples, vocabulary = PrefixExamples(dataset.test), dataset.vocabulary
    if len(examples) == 0:
        raise ValueError(f"{dataset.name}: expected test sessions of two clicks or more, got none")
    rows: dict[str, dict[str, float]] = {}
    with progress_bar() as progress:
        observer = ProgressObserver(progress)
        observer.begin(run.training.architecture, len(examples))
        figures = evaluate_model(run.recommender(), examples, observer.advance)
        run.log_test_read("evaluate", dataset.name, figures)
        rows[run.training.architecture] = main_figures(figures)
        baselines = {
            "sequential rules": sequential_rules(dataset.train, vocabulary),
            "session popularity": session_popularity(vocabulary),
            "popularity": popularity(vocabulary),
        }
        for name, baseline in baselines.items():
            observer.begin(name, len(examples))
            baseline_figures = score(baseline, examples, len(vocabulary), advance=observer.advance)
            rows[name] = main_figures(baseline_figures)
    return rows
