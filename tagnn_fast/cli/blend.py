"""``tagnn-fast blend``: several runs together, as a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagnn_fast.cli.console import console, errors, say
from tagnn_fast.tables import show
from tagnn_fast.training.blend import blend as blend_runs
from tagnn_fast.training.stopping import Interrupted


def blend(
    runs: Annotated[list[Path], typer.Argument(help="Folders of two and more runs that have ended.")],
    output: Annotated[Path, typer.Option(help="Folder of the blend: a new one, or one to go on with.")],
) -> None:
    """Put runs of one data set together: an ensemble of one method with several seeds, or a hybrid of two methods.

    Items are ranked by the weighted sum of what they get of 1 in each: the softmax of a network's scores, or the score
    of a method that counts by the sum of its scores. In an ensemble all runs weigh alike; what the two methods of a
    hybrid weigh is chosen by MRR on the sessions held out, with weights that have not seen them. The test set is read
    once, after that. FOLDER is a run like any other, to evaluate, recommend and export.
    """
    try:
        run = blend_runs(runs, output)
    except Interrupted as interrupted:
        errors.print(str(interrupted), soft_wrap=True)
        raise typer.Exit(130) from None
    if run.result is not None:
        show(run.result, console)
    say(f"wrote {output}: {run.training.architecture}")
