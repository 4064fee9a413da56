"""``tagnn-fast demo``: everything once, on synthetic clicks, in about a minute."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from tagnn_fast.cli.console import console, resumable, say
from tagnn_fast.cli.info import dataset_table
from tagnn_fast.cli.recommend import recommendation_table
from tagnn_fast.data import Dataset, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.evaluation.evaluate import evaluate
from tagnn_fast.files import clear_up
from tagnn_fast.runs.run import Run
from tagnn_fast.tables import show
from tagnn_fast.training.fit import fit, plan


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to make, of data set, run and export.")] = Path("demo"),
    clicks: Annotated[int, typer.Option(help="Clicks of the synthetic data.")] = 500_000,
    epochs: Annotated[int, typer.Option(help="Passes over the examples.")] = 3,
) -> None:
    """Make synthetic clicks, train about a minute, compare with baselines, recommend for three sessions, export."""
    from tagnn_fast.serving.export import export

    dataset = synthetic_dataset(clicks)
    plan(dataset, {"epochs": epochs})  # refuses what cannot be trained on before there is a folder
    dataset = _written(dataset, folder)
    console.print(dataset_table(dataset.name, dataset.statistics()))
    with resumable():
        run = fit(dataset, folder / "run", hidden_size=64, epochs=epochs)
    if run.result is not None:
        show(run.result, console)
    say(f"wrote {folder / 'run'}")
    show(evaluate(run, dataset), console)
    items = _recommend(run, dataset)
    export(run, folder / "exported")
    say(f"wrote {folder / 'exported'}")
    say(f"\nsee it at http://127.0.0.1:8080: tagnn-fast serve {folder / 'exported'}")
    say(f"try: tagnn-fast recommend {folder / 'run'} {' '.join(map(str, items))}")


def _written(dataset: Dataset, folder: Path) -> Dataset:
    """The data set in its folder, where an earlier call may have stopped in the training."""
    clear_up(folder / "data")
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return write_dataset(dataset, folder / "data")
    if any(entry.name not in ("data", "run") for entry in folder.iterdir()) or not (folder / "data").is_dir():
        raise FileExistsError(f"{folder}: expected a folder that does not exist yet, or where a demo was stopped")
    found = read_dataset(folder / "data")
    if found.fingerprint() != dataset.fingerprint():
        raise FileExistsError(f"{folder}: expected a demo of the same clicks to go on with, got another data set in it")
    return found


def _recommend(run: Run, dataset: Dataset) -> list[object]:
    """Show recommendations for three sessions; the items of the last."""
    items: list[object] = []
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
    return items
