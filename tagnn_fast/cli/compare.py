"""``tagnn-fast compare``: methods side by side on one data set, in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional, cast

import typer

from tagnn_fast.cli.console import console, resumable, say
from tagnn_fast.experiments.compare import METHODS, ComparedProtocol
from tagnn_fast.experiments.compare import compare as compare_methods
from tagnn_fast.tables import show


def compare(
    dataset: Annotated[Path, typer.Argument(help="Data set folder, from `tagnn-fast prepare`.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the comparison: a new one, or one to go on with.")],
    models: Annotated[str, typer.Option(help="Methods, with commas between them.")] = ",".join(METHODS),
    seeds: Annotated[int, typer.Option(help="How often each method with randomness is trained.")] = 3,
    budget: Annotated[
        Optional[str],
        typer.Option(help="Time for all trainings together, over all calls: 90s, 30m, 2h.", show_default=False),
    ] = None,
    protocol: Annotated[
        Optional[str],
        typer.Option(help="held-out, held-out-refit or all, of all methods; see `train`.", show_default=False),
    ] = None,
    config: Annotated[
        Optional[list[str]],
        typer.Option(help="NAME=FILE: JSON or TOML file of a method's options; repeatable.", show_default=False),
    ] = None,
    blend: Annotated[
        Optional[list[str]],
        typer.Option(
            help="NAME: the ensemble of its seeds; NAME+NAME: hybrids of two methods; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Train methods under one protocol, score the test set once with each, and say which is best.

    Writes report.html, which opens without a network, report.md and results.json to FOLDER. The same command
    goes on after a stop, and makes the report anew without another look at the test set. What the budget
    ends is left out of the figures, and the report says so.
    """
    names = [name.strip() for name in models.split(",")]
    given: dict[str, Any] = {"seeds": seeds, "budget": budget, "configs": _configs(config or [])}
    given["blends"] = blend or []
    with resumable():
        comparison = compare_methods(
            dataset, folder, names, protocol=cast(Optional[ComparedProtocol], protocol), **given
        )
    show(comparison, console)
    say(f"wrote {folder / 'report.html'}")


def _configs(texts: list[str]) -> dict[str, str]:
    """Files by method, of ``NAME=FILE``."""
    files: dict[str, str] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not name or not equals or not file:
            raise ValueError(f"--config: expected NAME=FILE, got {text!r}")
        if name in files:
            raise ValueError(f"--config: expected each name once, got {name} twice")
        files[name] = file
    return files
