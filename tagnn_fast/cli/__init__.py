"""The command line: ``tagnn-fast``."""

from __future__ import annotations

import io
import os
import re
import sys

import pyarrow as pa
import typer

from tagnn_fast.cli import blend, compare, demo, evaluate, export, info, prepare, recommend, serve, similar, train, tune
from tagnn_fast.cli.console import errors
from tagnn_fast.extras import how_to_install
from tagnn_fast.memory import is_out_of_memory
from tagnn_fast.version import __version__

app = typer.Typer(
    help="Session-based recommendation with TAGNN++: prepare click data, train, evaluate, recommend.",
    no_args_is_help=True,
    rich_markup_mode=None,  # texts are shown as they are, brackets too
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare.app, name="prepare", short_help="Make a data set.")
app.command("train", short_help="Train a model.")(train.train)
app.command("tune", short_help="Search for a method's best options.")(tune.tune)
app.command("blend", short_help="Put runs together: ensembles, hybrids.")(blend.blend)
app.command("compare", short_help="Train methods side by side and report.")(compare.compare)
app.command("evaluate", short_help="Score a model on the test sessions.")(evaluate.evaluate)
app.command("recommend", short_help="Recommend for a session or a file of them.")(recommend.recommend)
app.command("similar", short_help="Show the items most like some items.")(similar.similar)
app.command("export", short_help="Write a model for services.")(export.export)
app.command("serve", short_help="Answer over HTTP.")(serve.serve)
app.command("info", short_help="Describe a data set or a run.")(info.info)
app.command("demo", short_help="Everything once, on synthetic clicks.")(demo.demo)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    processes = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if processes > 1 and context.invoked_subcommand not in (None, "train", "serve"):
        command = context.invoked_subcommand
        raise ValueError(
            f"{command}: expected one process, got {processes} of torchrun, whose work only train and serve share"
        )
    if version:
        typer.echo(f"tagnn_fast {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command; what a user can mend is said in a line, unless TAGNN_FAST_TRACEBACK asks for a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # ids and paths may have what its encoding has not
    # No shell puts the home folder behind "--option=".
    arguments = [re.sub(r"^(--[\w-]+=)(~/.*)", _at_home, argument, flags=re.DOTALL) for argument in sys.argv[1:]]
    if os.environ.get("TAGNN_FAST_TRACEBACK"):
        app(arguments)
        return
    try:
        app(arguments)
    except Exception as error:
        message = _message(error)
        if message is None:
            raise  # a fault of ours
        errors.print(f"error: {' '.join(message.splitlines())}", style="red", soft_wrap=True)
        sys.exit(1)


def _at_home(found: re.Match[str]) -> str:
    return found[1] + os.path.expanduser(found[2])


def _message(error: Exception) -> str | None:
    """What to tell a user of an error that comes of what was asked for, or of the machine; None of any other."""
    if is_out_of_memory(error):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    if isinstance(error, (ValueError, TypeError, OSError, FloatingPointError, OverflowError, pa.ArrowException)):
        return str(error) or type(error).__name__
    return how_to_install(error, "this command") if isinstance(error, ModuleNotFoundError) else None
