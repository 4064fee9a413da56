"""``tagnn-fast tune``: the search for a method's best options, on validation sessions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from tagnn_fast.cli.console import console, resumable, say
from tagnn_fast.experiments.tune import tune as search
from tagnn_fast.tables import show
from tagnn_fast.training.options import parse_options


def tune(
    dataset: Annotated[Path, typer.Argument(help="Data set folder, from `tagnn-fast prepare`.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the search: a new one, or one to go on with.")],
    model: Annotated[
        str, typer.Option(help="A method, as `train --architecture` takes it: vs_knn, slist, tagnn_pp, ...")
    ],
    trials: Annotated[int, typer.Option(help="Configurations to try, those of calls before among them.")] = 50,
    budget: Annotated[
        Optional[str],
        typer.Option(help="Time for all trials, over all calls: 90s, 30m, 2h.", show_default=False),
    ] = None,
    metric: Annotated[str, typer.Option(help="What is to be high: HR, MRR or NDCG at 5, 10 or 20.")] = "MRR@20",
    fix: Annotated[
        Optional[list[str]],
        typer.Option(help="NAME=VALUE of an option that is the same in each trial; repeatable.", show_default=False),
    ] = None,
    start: Annotated[
        Optional[list[Path]],
        typer.Option(help="JSON or TOML file of a configuration to try after the defaults; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
) -> None:
    """Search for a method's best options on the last tenth of the training sessions.

    The first trial is the defaults, later ones are drawn by Optuna. FOLDER/best.json is what `train --config`
    takes. Test sessions are never read. The same command goes on after a stop, in the midst of a trial too.
    """
    given: dict[str, Any] = {"trials": trials, "budget": budget, "metric": metric, "seed": seed}
    with resumable():
        tuning = search(dataset, folder, model, **given, fix=parse_options(fix or [], "--fix"), start=start or [])
    show(tuning, console)
    if tuning.best is not None:
        say(f"wrote {tuning.config}: tagnn-fast train {dataset} --run RUN --config {tuning.config}")
