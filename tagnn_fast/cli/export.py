"""``tagnn-fast export``: a run's model as a folder that services load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from tagnn_fast.cli.console import console, say
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import Table


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Argument(help="Folder to make.")],
    formats: Annotated[
        str,
        typer.Option(
            help="Any of torchscript, program (torch.export), compiled (AOTInductor) and onnx (slow, for any runtime), "
            "with commas between."
        ),
    ] = "torchscript",
    k_max: Annotated[
        Optional[int], typer.Option(help="Length of the lists that all but TorchScript give.", show_default="100")
    ] = None,
    bfloat16_table: Annotated[
        bool, typer.Option(help="Round item vectors to bfloat16 for scoring: half the memory to read.")
    ] = False,
    screen: Annotated[
        bool, typer.Option(help="Keep int8 item vectors too: a quarter more memory, and far faster answers.")
    ] = True,
) -> None:
    """Write a run's model as a folder that has all a service needs.

    Beside the model these are the ops library, the items, and a manifest with a model card. Without a C++ compiler,
    which AOTInductor needs, its package is left out.
    """
    from tagnn_fast.serving.export import export as export_run

    chosen = [name.strip() for name in formats.split(",")]
    manifest = export_run(open_run(run), output, k_max, bfloat16_table, screen, formats=chosen)  # type: ignore[arg-type]
    table = Table("file", title=f"{output}")
    table.add("bytes", right=True)
    for name, entry in manifest["files"].items():
        table.add_row(name, f"{entry['bytes']:,}")
    console.print(table)
    for name, reason in manifest["missing"].items():
        say(f"without {name}: {reason}")
    say(f"wrote {output}: {manifest['items']:,} items, ids are {manifest['item_ids']}")
