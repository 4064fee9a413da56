"""``tagnn-fast serve``: exported models over HTTP, or a run in shards."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from tagnn_fast.checks import check_count
from tagnn_fast.cli.console import say

if TYPE_CHECKING:
    from tagnn_fast.serving.served_model import ServedModel

TOKEN_VARIABLE = "TAGNN_FAST_TOKEN"


def serve(
    exported: Annotated[
        list[str],
        typer.Argument(
            help="Exported folders; NAME=FOLDER gives a model another name than its folder's. With --devices, a run."
        ),
    ],
    devices: Annotated[
        Optional[int],
        typer.Option(
            help="Serve a run whose item table is too large for one process: so many on this machine hold its rows. "
            "Under torchrun, as many as it starts on each."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any that is free.")] = 8080,
    format: Annotated[
        Literal["torchscript", "program", "compiled"], typer.Option(help="Which of a folder's files is to answer.")
    ] = "torchscript",
    split: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME=PERCENT,...",
            help="Requests that ask for no model by name go to these, by a hash of their key, or of their clicks. "
            "Without it, the first model gets them.",
        ),
    ] = None,
    sessions: Annotated[
        Optional[str],
        typer.Option(metavar="memory|valkey://...", help="Keep the clicks of sessions here, for /v1/sessions."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a request may take; X-Timeout-Ms may ask for less.")] = 2.0,
    queue: Annotated[int, typer.Option(help="Sessions that may wait; more are refused with status 503.")] = 512,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1 << 20,
    max_sessions: Annotated[int, typer.Option(help="Sessions of a request.")] = 256,
    max_clicks: Annotated[int, typer.Option(help="Clicks of a session.")] = 1000,
    max_k: Annotated[int, typer.Option(help="Length of a list.")] = 100,
    threads: Annotated[int, typer.Option(help="Cores that score one call together.")] = 1,
    drain: Annotated[
        float, typer.Option(help="Seconds between SIGTERM, when /ready turns 503, and the end of listening.")
    ] = 1.0,
    token_file: Annotated[
        Optional[Path],
        typer.Option(
            help="File with a token that requests must bear (Authorization: Bearer ...), except the page and probes; "
            f"or it is in the environment's {TOKEN_VARIABLE}."
        ),
    ] = None,
    allow_origin: Annotated[
        Optional[list[str]],
        typer.Option(metavar="ORIGIN", help="Let pages of this origin ask (CORS); can be given again."),
    ] = None,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log as JSON lines on standard error, a line for each request.")
    ] = False,
    tracing: Annotated[
        bool,
        typer.Option("--tracing", help="Add OpenTelemetry's middleware; start it under opentelemetry-instrument."),
    ] = False,
) -> None:
    """Answer with exported models over HTTP, until SIGTERM.

    A new folder in a model's place (or SIGHUP) is loaded beside, tried, and takes over without a failed request; one
    that cannot be loaded leaves the old model answering, and /ready says why. An exported folder is a program: serve
    only what you would run. A run in shards is no program; it answers until one of its processes is lost, too.
    """
    import torch

    from tagnn_fast.serving.http.application import app
    from tagnn_fast.serving.http.server import Server, listen
    from tagnn_fast.serving.http.service import Limits

    if not 0 <= drain < float("inf"):
        raise ValueError(f"drain: expected seconds, 0 or more, got {drain}")
    _set_up_logs(json_logs)
    limits = Limits(max_body, max_sessions, max_clicks, max_k, queue, timeout)
    torch.set_num_threads(check_count(threads, "threads"))
    with _models(exported, devices, format, threads) as models:
        if models is None:
            return
        listener = listen(host, port)
        application = app(
            models,
            format=format,
            split=None if split is None else _percent_by_name(split),
            limits=limits,
            threads=threads,
            sessions=sessions,
            token=_token(token_file),
            allow_origins=allow_origin or (),
            tracing=tracing,
        )
        loaded = application.state.service.models
        signal.signal(signal.SIGHUP, lambda *_: loaded.reload())
        for model in loaded:
            say(f"{model.name}: version {model.version}, {model.served.manifest['items']:,} items")
        listener.listen()  # who connects from here on is answered
        shown = f"[{host}]" if ":" in host else host
        say(f"serving at http://{shown}:{listener.getsockname()[1]}")
        gc.collect()
        gc.freeze()  # a collection would look at all of PyTorch, a sixth of a second in which nobody is answered
        Server(application, drain).run([listener])


@contextmanager
def _models(
    given: list[str], devices: int | None, format: str, threads: int
) -> Iterator[list[str] | dict[str, ServedModel] | None]:
    """Exported folders; or a run in shards, None on processes that only hold some of its rows."""
    from tagnn_fast.parallel.layout import find_layout

    if devices is None:
        if (found := find_layout().processes.count) > 1:
            raise ValueError(f"devices: expected processes for a run in shards, got none, but {found} of torchrun")
        yield given
        return

    from tagnn_fast.serving import served_in_shards
    from tagnn_fast.serving.http.models import folders_by_name

    if len(given) > 1 or format != "torchscript":
        got = f"{len(given)} models" if len(given) > 1 else f"format {format}"
        raise ValueError(f"devices: expected none but for one run, which has no formats, got {devices} with {got}")
    ((name, folder),) = folders_by_name(given).items()
    if not find_layout(devices).processes.is_first:  # they end with the first, which answers what is there
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of each
    with served_in_shards(folder, devices) as served:
        yield None if served is None else {name: served}


def _percent_by_name(split: str) -> dict[str, float]:
    """What ``--split`` says."""
    shares: dict[str, float] = {}
    for part in split.split(","):
        name, _, percent = part.strip().rpartition("=")
        try:
            share = float(percent)
        except ValueError:
            share = -1.0
        if not name or share < 0 or name in shares:
            raise ValueError(f"split: expected NAME=PERCENT,... with each name once, got {split!r}")
        shares[name] = share
    return shares


def _token(file: Path | None) -> str | None:
    """From the file, or else from the environment: arguments can be read by every process of the machine."""
    found = os.environ.get(TOKEN_VARIABLE)
    if file is None:
        return found
    if found is not None:
        raise ValueError(f"token-file: expected a file or {TOKEN_VARIABLE}, got both")
    return file.read_text(encoding="utf-8")


def _set_up_logs(json_logs: bool) -> None:
    from tagnn_fast.serving.http.gate import requests_logger
    from tagnn_fast.serving.http.json_logs import JsonFormatter

    handler = logging.StreamHandler()
    if json_logs:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("tagnn_fast.serving").setLevel(logging.INFO)
    requests_logger.setLevel(logging.INFO if json_logs else logging.WARNING)
