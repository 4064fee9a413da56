"""``tagnn-fast evaluate``: a run's model on test sessions, beside three baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli.console import ProgressObserver, console, figures_table, main_figures, progress_bar, say
from tagnn_fast.data import Dataset, PrefixExamples, read_dataset
from tagnn_fast.training.baselines import popularity, sequential_rules, session_popularity
from tagnn_fast.training.evaluation import evaluate as score
from tagnn_fast.training.evaluation import evaluate_model
from tagnn_fast.training.run import Run, open_run


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    dataset: Annotated[
        Optional[Path], typer.Option(help="Another data set folder with the same items; the run's own if not given.")
    ] = None,
) -> None:
    """Score a run's model on its data set's test sessions, beside sequential rules and two kinds of popularity.

    Each call is a look at the test set, and is added to test_reads.jsonl in the run folder.
    """
    opened = open_run(run)
    data = read_dataset(dataset if dataset is not None else Path(opened.dataset["path"]))
    if dataset is None:
        opened.check_dataset(data)
    if not opened.vocabulary.equals(data.vocabulary):
        raise ValueError(f"dataset: expected the items of the run ({len(opened.vocabulary)}), got others")
    console.print(figures_table(test_figures(opened, data), f"{data.name}, test sessions, in percent"))
    say(f"looks at a test set so far: {len(opened.test_reads())}")


def test_figures(run: Run, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Figures of the model and the baselines at the longest cutoff."""
    examples, vocabulary = PrefixExamples(dataset.test), run.vocabulary
    if len(examples) == 0:
        raise ValueError(f"{dataset.name}: expected test sessions of two clicks or more, got none")
    rows: dict[str, dict[str, float]] = {}
    with progress_bar() as progress:
        observer = ProgressObserver(progress)
        observer.begin(run.training.architecture, len(examples))
        figures = evaluate_model(run.load_recommender(), examples, observer.advance)
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
