"""The command line: ``tagnn-fast``."""

from __future__ import annotations

import os
import sys

import typer

from tagnn_fast import __version__
from tagnn_fast.cli import demo, evaluate, export, info, prepare, recommend, train
from tagnn_fast.cli.console import errors

app = typer.Typer(
    help="Session-based recommendation with TAGNN++: prepare click data, train, evaluate, recommend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare.app, name="prepare")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("recommend")(recommend.recommend)
app.command("export")(export.export)
app.command("info")(info.info)
app.command("demo")(demo.demo)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(f"tagnn_fast {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command; errors are printed in a line, with a traceback only where TAGNN_FAST_TRACEBACK is set."""
    if os.environ.get("TAGNN_FAST_TRACEBACK"):
        app()
        return
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        errors.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("lightning_fabric", "tensorboard", "matplotlib"):
            raise
        errors.print(
            f"error: training needs {error.name}: pip install 'tagnn_fast[train]'", style="red", soft_wrap=True
        )
        sys.exit(1)
