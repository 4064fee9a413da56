"""``tagnn-fast prepare``: click data to a data set folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli import prepare_logs
from tagnn_fast.cli.console import console, say
from tagnn_fast.cli.info import dataset_table
from tagnn_fast.data import Dataset, read_exchange, synthetic_dataset, write_dataset

app = typer.Typer(help="Make a data set folder: Parquet sessions, the items, and a dataset.json.", no_args_is_help=True)
app.command("logs")(prepare_logs.logs)
app.command("update")(prepare_logs.update)

Output = Annotated[Path, typer.Argument(help="Folder to make; must not exist.")]


@app.command()
def exchange(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder with all_train_seq.txt or train.txt, and test.txt; or RecBole's *.train.inter, *.test.inter."
        ),
    ],
    output: Output,
    name: Annotated[Optional[str], typer.Option(help="What to call it; the source folder's name if not given.")] = None,
    with_validation: Annotated[
        bool,
        typer.Option("--with-validation", help="Train on RecBole's *.valid.inter too; it is left out if not given."),
    ] = False,
) -> None:
    """From the files that the field exchanges: pickled lists of item ids, or RecBole's files of examples.

    No code in them is run.
    """
    dataset = read_exchange(source, name, with_validation)
    _write(dataset, output)
    if "validation" in dataset.source:
        say(f"validation examples of RecBole: {dataset.source['validation']}")
    if "cut_prefixes" in dataset.source:
        say(
            f"{dataset.source['cut_prefixes']:,} prefixes seem to be the last clicks of longer ones: popularity, rules "
            "and neighbours count theirs more than once"
        )


@app.command()
def synthetic(
    output: Output,
    clicks: Annotated[int, typer.Option(help="Clicks of all sessions together.")] = 100_000,
    items: Annotated[int, typer.Option(help="Size of the catalogue.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 0,
) -> None:
    """From a random walk through categories, for trying things out."""
    _write(synthetic_dataset(clicks, items, seed), output)


def _write(dataset: Dataset, output: Path) -> None:
    write_dataset(dataset, output)
    console.print(dataset_table(dataset.name, dataset.statistics()))
    say(f"wrote {output}")
