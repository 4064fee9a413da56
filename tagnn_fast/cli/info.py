"""``tagnn-fast info``: what is in a data set or a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tagnn_fast.cli.console import console
from tagnn_fast.data import read_dataset
from tagnn_fast.files import load_json
from tagnn_fast.training.checkpoints import list_checkpoints
from tagnn_fast.training.run import open_run


def info(path: Annotated[Path, typer.Argument(help="A data set folder or a run folder.")]) -> None:
    """Describe a data set or a run."""
    if (path / "dataset.json").exists():
        dataset = read_dataset(path)
        console.print(dataset_table(dataset.name, dataset.statistics()))
        console.print_json(json.dumps({"source": dict(dataset.source)}))
    elif (path / "config.json").exists():
        _describe_run(path)
    else:
        raise FileNotFoundError(f"{path}: expected a data set (dataset.json) or a run (config.json)")


def dataset_table(name: str, statistics: Mapping[str, Mapping[str, float]]) -> Table:
    """Counts of both splits."""
    title = f"{name}: {statistics['items']['count']:,} items"
    table = Table(title=title, title_justify="left")
    for column in ("", "train", "test"):
        table.add_column(column, justify="left" if column == "" else "right")
    for key, value in statistics["train"].items():
        table.add_row(key.replace("_", " "), f"{value:,}", f"{statistics['test'][key]:,}")
    return table


def _describe_run(path: Path) -> None:
    run = open_run(path)
    console.print(dataset_table(str(run.dataset["name"]), run.dataset["statistics"]))
    content: dict[str, Any] = dict(run.configuration)
    checkpoints = list_checkpoints(run.checkpoints)
    content["newest_checkpoint"] = checkpoints[-1].name if checkpoints else None
    result = path / "result.json"
    content["result"] = load_json(result) if result.exists() else "not finished"
    content["looks_at_a_test_set"] = len(run.test_reads())
    console.print_json(json.dumps(content))
