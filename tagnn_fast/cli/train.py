"""``tagnn-fast train``: a run, from a data set or from where it stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Optional

import torch
import typer

from tagnn_fast.cli.console import ProgressObserver, console, errors, figures_table, main_figures, progress_bar, say
from tagnn_fast.data import Dataset, PrefixExamples, read_dataset
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training.protocols import make_protocol
from tagnn_fast.training.recipes import resolve


def _field(help: str) -> Any:
    return typer.Option(help=help, show_default=False)


def train(
    dataset: Annotated[Optional[Path], typer.Argument(help="Data set folder, from `tagnn-fast prepare`.")] = None,
    run: Annotated[Optional[Path], typer.Option(help="Folder of the run to make; must not exist.")] = None,
    resume: Annotated[Optional[Path], typer.Option(help="Folder of a run that stopped: go on with it.")] = None,
    start_from: Annotated[
        Optional[Path], typer.Option(help="Run to take model and weights from, on the data set before an update.")
    ] = None,
    preset: Annotated[str, typer.Option(help="clean, published-diginetica or published-yoochoose.")] = "clean",
    architecture: Annotated[Optional[str], _field("tagnn_pp, tagnn or sr_gnn.")] = None,
    hidden_size: Annotated[Optional[int], _field("Width of item vectors and node states.")] = None,
    rounds: Annotated[
        Optional[int],
        typer.Option("--rounds", "--steps", help="Of propagation over the session graph.", show_default=False),
    ] = None,
    heads: Annotated[Optional[int], _field("Attention heads of the Transformer block.")] = None,
    attention_dropout: Annotated[Optional[float], _field("Rate on its attention weights.")] = None,
    hybrid: Annotated[Optional[bool], _field("Project [readout ; last click] to the session vector.")] = None,
    semantics: Annotated[
        Optional[str],
        _field("clean (no padding) or published (as its code; original, its earlier name, means the same)."),
    ] = None,
    padded_length: Annotated[Optional[int], _field("Length padded to in published semantics.")] = None,
    protocol: Annotated[
        Optional[str],
        _field(
            "held-out: choose the epoch on the last tenth of the sessions. all: no validation, epochs fixed. "
            "published, published-test: as the published code does, for comparison."
        ),
    ] = None,
    epochs: Annotated[Optional[int], _field("Passes over the examples.")] = None,
    batch_size: Annotated[Optional[int], _field("Examples per step.")] = None,
    max_clicks_per_batch: Annotated[
        Optional[int], _field("Clicks computed at once; a step with more takes parts, and no more memory.")
    ] = None,
    learning_rate: Annotated[Optional[float], _field("Adam's, in the first epochs.")] = None,
    weight_decay: Annotated[Optional[float], _field("L2 penalty.")] = None,
    first_decay: Annotated[Optional[int], _field("Epochs at the first learning rate.")] = None,
    decay_every: Annotated[Optional[int], _field("Epochs at each later one.")] = None,
    decay_factor: Annotated[Optional[float], _field("What each is of the one before.")] = None,
    seed: Annotated[Optional[int], _field("Of parameters, order and dropout.")] = None,
    precision: Annotated[Optional[str], _field("32-true, 64-true or bf16-mixed.")] = None,
    accelerator: Annotated[Optional[str], _field("auto, cpu, cuda, ...")] = None,
) -> None:
    """Train a model; Ctrl-C writes a checkpoint, --resume goes on to the same losses.

    The fields of the model and the training are the preset's unless given. With held-out and all, the
    test set is read once, after the epoch was chosen.
    """
    given = dict(locals())
    for name in ("dataset", "run", "resume", "start_from", "preset"):
        given.pop(name)
    overrides = {name: value for name, value in given.items() if value is not None}
    if resume is not None:
        if run is not None or overrides or preset != "clean" or start_from is not None:
            raise ValueError("--resume: expected no other options, a run goes on with the configuration it has")
        finish(*_reopen(resume, dataset))
        return
    if dataset is None or run is None:
        raise ValueError("train: expected DATASET and --run, or --resume")
    data = read_dataset(dataset)
    before = open_run(start_from) if start_from is not None else None
    if before is not None:
        overrides = {**overrides, **_model_of(before, overrides)}
    finish(create_run(run, *plan(data, preset, overrides), data, dataset, before), data)


def _model_of(run: Run, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The options that describe a run's model; none of them may be given."""
    options = {**asdict(run.model), "architecture": run.training.architecture}
    del options["num_items"]
    if given := sorted(options.keys() & overrides.keys()):
        raise ValueError(f"--start-from: expected no options of the model, which is that run's, got {', '.join(given)}")
    return {name: value for name, value in options.items() if value is not None}


def plan(dataset: Dataset, preset: str, overrides: Mapping[str, Any]) -> tuple[ModelConfig, TrainingConfig]:
    """The configuration of a run; refuses what would fail later, before anything is written."""
    from tagnn_fast.training.loop import make_fabric

    longest = PrefixExamples(dataset.train).longest_prefix()
    model, training = resolve(preset, overrides, len(dataset.vocabulary), longest)
    make_protocol(training.protocol, dataset, training.seed)
    with torch.device("meta"):
        make_model(model, training)
    make_fabric(training)
    return model, training


def _reopen(folder: Path, source: Path | None) -> tuple[Run, Dataset]:
    run = open_run(folder)
    return run, read_dataset(source if source is not None else Path(run.dataset["path"]))


def finish(run: Run, dataset: Dataset) -> dict[str, Any]:
    """Train to the end, showing it, and print the result."""
    from tagnn_fast.training.loop import Interrupted, train

    keep_freed_memory()
    with progress_bar() as progress, _stop_on_signal() as stop:
        try:
            result = train(run, dataset, ProgressObserver(progress), stop)
        except Interrupted as interrupted:
            progress.stop()
            errors.print(f"{interrupted}\ngo on with: tagnn-fast train --resume {run.folder}", soft_wrap=True)
            raise typer.Exit(130) from None
    if "best_of_each_metric" in result:
        best = result["best_of_each_metric"]
        rows = {"best of each metric": {name: entry["value"] for name, entry in best.items()}}
        console.print(figures_table({name: main_figures(row) for name, row in rows.items()}, "in percent"))
    else:
        rows = {split: main_figures(result[split]) for split in ("validation", "test") if split in result}
        if rows:
            console.print(figures_table(rows, f"epoch {result['epoch']}, in percent"))
    if result["caution"]:
        console.print(f"Beware: {result['caution']}", style="yellow")
    say(f"wrote {run.folder}")
    return result


class _stop_on_signal:  # noqa: N801
    """Asks for a stop at the first Ctrl-C or SIGTERM; the second Ctrl-C breaks off at once."""

    def __enter__(self) -> Callable[[], bool]:
        self._asked = False
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self._asked

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        # Nothing that may be in use where the signal came.
        os.write(2, b"\nstopping after this step; press Ctrl-C again to stop without a checkpoint\n")
