"""The command line: ``tagnn-fast``."""

from __future__ import annotations

import os
import sys

import typer

from tagnn_fast import __version__
from tagnn_fast.cli import demo, evaluate, export, info, prepare, recommend, train
from tagnn_fast.cli.console import errors

_EXTRAS = {
    "train": ("lightning_fabric", "tensorboard", "matplotlib"),
    "prepare": ("ibis", "duckdb"),
    "spark": ("pyspark",),
}

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
        module = (error.name or "").split(".")[0]
        extra = next((extra for extra, modules in _EXTRAS.items() if module in modules), None)
        if extra is None:
            raise
        message = f"error: this command needs {module}: pip install 'tagnn_fast[{extra}]'"
        errors.print(message, style="red", soft_wrap=True)
        sys.exit(1)
