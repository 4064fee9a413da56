"""``tagnn-fast info``: what is in a data set or a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from tagnn_fast.cli.console import console, say
from tagnn_fast.data import Dataset, read_dataset
from tagnn_fast.extras import needed_by
from tagnn_fast.runs.checkpoints import list_checkpoints
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import Table


def info(path: Annotated[Path, typer.Argument(help="A data set folder or a run folder.")]) -> None:
    """Describe a data set or a run; of a data set, draw session lengths and item popularity into its folder."""
    if (path / "dataset.json").exists():
        dataset = read_dataset(path)
        console.print(dataset_table(dataset.name, dataset.statistics()))
        say_periods(dataset)
        if dataset.source.get("kind") == "logs":
            for part in (dataset.source, *dataset.source.get("updates", [])):
                console.print(steps_table(part))
        console.print_json(json.dumps({"source": dict(dataset.source)}))
        _draw(dataset, path)
    elif (path / "config.json").exists():
        _describe_run(path)
    else:
        raise FileNotFoundError(f"{path}: expected a data set (dataset.json) or a run (config.json)")


def dataset_table(name: str, statistics: Mapping[str, Mapping[str, float]]) -> Table:
    """Counts of both splits."""
    title = f"{name}: {statistics['items']['count']:,} items"
    table = Table("", title=title)
    for column in ("train", "test"):
        table.add(column, right=True)
    for key, value in statistics["train"].items():
        table.add_row(key.replace("_", " "), f"{value:,}", f"{statistics['test'][key]:,}")
    return table


def say_periods(dataset: Dataset) -> None:
    """From when to when the sessions of both splits ended, where it is known."""
    for split in ("train", "test"):
        times = getattr(dataset, split).times
        if times is not None and len(times):
            first, last = (int(time) for time in times.aminmax())
            began, ended = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time) for time in (first, last))
            days = f"{(last - first) / 86400:.1f} days"
            say(f"{split}: sessions that ended from {began:%F %T} to {ended:%F %T} UTC, {days}")


def steps_table(source: Mapping[str, Any]) -> Table:
    """What was there after each step from the logs to the data set, and the rows that could not be used."""
    table = Table("", title="from the logs")
    for column in ("clicks", "sessions", "items"):
        table.add(column, right=True)
    for reason, found in source["bad_rows"].items():
        table.add_row(f"dropped: {reason}", f"{found['count']:,}")
    for step in source["steps"]:
        table.add_row(step["step"], *(f"{step[column]:,}" for column in ("clicks", "sessions", "items")))
    return table


def _draw(dataset: Dataset, folder: Path) -> None:
    try:
        with needed_by("drawing"):
            from tagnn_fast.data.plots import plot_item_popularity, plot_session_lengths
    except ModuleNotFoundError as error:
        say(f"no plots: {error}")
        return
    try:
        for plot, name in ((plot_session_lengths, "session_lengths"), (plot_item_popularity, "item_popularity")):
            plot(dataset, folder / f"{name}.png")
            say(f"wrote {folder / name}.png")
    except OSError as error:
        say(f"no plots in {folder}: {error}")


def _describe_run(path: Path) -> None:
    run = open_run(path)
    console.print(dataset_table(str(run.dataset["name"]), run.dataset["statistics"]))
    content: dict[str, Any] = dict(run.configuration)
    if run.members:
        content["members"] = run.members
    checkpoints = list_checkpoints(run.checkpoints)
    content["newest_checkpoint"] = checkpoints[-1].name if checkpoints else None
    content["result"] = run.result or "not finished"
    content["looks_at_a_test_set"] = len(run.test_reads())
    console.print_json(json.dumps(content))
