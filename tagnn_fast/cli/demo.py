"""``tagnn-fast demo``: everything once, on synthetic clicks, in about a minute."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from tagnn_fast.cli.console import console, figures_table, say
from tagnn_fast.cli.evaluate import test_figures
from tagnn_fast.cli.info import dataset_table
from tagnn_fast.cli.recommend import recommendation_table
from tagnn_fast.cli.train import finish, plan
from tagnn_fast.data import Dataset, synthetic_dataset, write_dataset
from tagnn_fast.runs.run import Run, create_run


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to make for the data set and the run.")] = Path("demo"),
    clicks: Annotated[int, typer.Option(help="Clicks of the synthetic data.")] = 500_000,
    epochs: Annotated[int, typer.Option(help="Passes over the examples.")] = 3,
) -> None:
    """Make synthetic clicks, train about a minute, compare with three baselines, recommend for three sessions."""
    if folder.exists():
        raise FileExistsError(f"{folder}: expected a folder that does not exist yet")
    dataset = synthetic_dataset(clicks)
    configurations = plan(dataset, "clean", {"hidden_size": 64, "epochs": epochs})
    write_dataset(dataset, folder / "data")
    console.print(dataset_table(dataset.name, dataset.statistics()))
    run = create_run(folder / "run", *configurations, dataset, folder / "data")
    finish(run, dataset)
    console.print(figures_table(test_figures(run, dataset), "test sessions, in percent"))
    _recommend(run, dataset)


def _recommend(run: Run, dataset: Dataset) -> None:
    recommender = run.recommender()
    bounds = dataset.test.offsets.tolist()
    for begin, end in pairwise(bounds[:4]):
        clicked = dataset.test.clicks[begin:end]
        items = dataset.vocabulary.decode(clicked[clicked > 0].numpy()).to_pylist()
        console.print(
            recommendation_table(
                recommender.recommend([items], k=5), [str(item) for item in items], recommender.vocabulary
            )
        )
    say(f"\ntry: tagnn-fast recommend {run.folder} {' '.join(map(str, items))}")
