"""``tagnn-fast export``: a run's model as a folder that services load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagnn_fast.cli.console import console, say
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import Table


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Argument(help="Folder to make.")],
    k_max: Annotated[int, typer.Option(help="Length of the lists that the .pt2 programs give.")] = 100,
    bfloat16_table: Annotated[
        bool, typer.Option(help="Round item vectors to bfloat16 for scoring: half the memory to read.")
    ] = False,
    screen: Annotated[
        bool, typer.Option(help="Keep int8 item vectors too: a quarter more memory, and far faster answers.")
    ] = True,
) -> None:
    """Write a run's model as TorchScript, as a torch.export program and as an AOTInductor package.

    The folder has all that a service needs: the ops library, the items, a manifest with a model card, and a model
    repository for Triton Inference Server. Without a C++ compiler, which AOTInductor needs, that package is left out.
    """
    from tagnn_fast.serving.export import export as export_run

    manifest = export_run(open_run(run), output, k_max, bfloat16_table, screen)
    table = Table("file", title=f"{output}")
    table.add("bytes", right=True)
    for name, entry in manifest["files"].items():
        table.add_row(name, f"{entry['bytes']:,}")
    console.print(table)
    for name, reason in manifest["missing"].items():
        say(f"without {name}: {reason}")
    say(f"wrote {output}: {manifest['items']:,} items, ids are {manifest['item_ids']}")
