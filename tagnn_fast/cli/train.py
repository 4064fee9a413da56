"""``tagnn-fast train``: a run, from a data set or from where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from tagnn_fast.cli.console import console, errors, say
from tagnn_fast.data import read_dataset
from tagnn_fast.parallel.layout import find_layout
from tagnn_fast.runs.run import open_run
from tagnn_fast.tables import show
from tagnn_fast.training.fit import new_run
from tagnn_fast.training.fit import resume as go_on
from tagnn_fast.training.following import follow
from tagnn_fast.training.loggers import check_loggers
from tagnn_fast.training.options import OPTIONS, parse_options, with_config
from tagnn_fast.training.stopping import Interrupted


def _field(help: str) -> Any:
    return typer.Option(help=help, show_default=False)


def train(
    dataset: Annotated[Optional[Path], typer.Argument(help="Data set folder, from `tagnn-fast prepare`.")] = None,
    run: Annotated[Optional[Path], typer.Option(help="Folder of the run to make; must not exist.")] = None,
    resume: Annotated[Optional[Path], typer.Option(help="Folder of a run that stopped: go on with it.")] = None,
    start_from: Annotated[
        Optional[Path], typer.Option(help="Run to take model and weights from, on the data set before an update.")
    ] = None,
    config: Annotated[
        Optional[Path],
        typer.Option(help="JSON or TOML file of options by name, such as hidden_size; those given here replace its."),
    ] = None,
    preset: Annotated[
        Optional[str],
        _field("best, clean, published-diginetica or published-yoochoose; --config's or best if not given."),
    ] = None,
    architecture: Annotated[
        Optional[str], _field("tagnn_pp, tagnn, sr_gnn, attention_enhanced, or a baseline such as vs_knn.")
    ] = None,
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
    readout_softmax: Annotated[
        Optional[bool], _field("Softmax of the readout's attention, or its plain values; not the architecture's own.")
    ] = None,
    cosine_scale: Annotated[
        Optional[float], _field("Scores are cosines times this; items enter the encoder at length 1. 0: neither.")
    ] = None,
    learned_scale: Annotated[Optional[bool], _field("Learn it.")] = None,
    session_share: Annotated[
        Optional[float], _field("The session vector's share of a cosine score; target attention has the rest.")
    ] = None,
    learned_share: Annotated[Optional[bool], _field("Learn it.")] = None,
    item_dropout: Annotated[Optional[float], _field("Rate on the item vectors that enter the encoder.")] = None,
    recency: Annotated[
        Optional[str], _field("none, nodes or readout: where vectors of nodes' places from the end are added.")
    ] = None,
    highway: Annotated[Optional[bool], _field("A gate lets item vectors past the encoder.")] = None,
    neighbour_weight: Annotated[
        Optional[float], _field("Of what an item's neighbours in all training sessions add to its vector.")
    ] = None,
    neighbour_attention: Annotated[Optional[bool], _field("Nodes begin with attention to these neighbours.")] = None,
    repeats: Annotated[Optional[bool], _field("Learned logits for items that the session has clicked.")] = None,
    star: Annotated[Optional[bool], _field("A star node takes part in propagation.")] = None,
    click_counts: Annotated[Optional[bool], _field("Vectors of nodes' clicks are added to their states.")] = None,
    edge_counts: Annotated[Optional[bool], _field("Edges weigh as often as they occur.")] = None,
    item_readout: Annotated[
        Optional[bool], _field("The readout pools item vectors, not node states; without --hybrid.")
    ] = None,
    second_readout: Annotated[Optional[bool], _field("The readout pools twice; with --hybrid.")] = None,
    option: Annotated[
        Optional[list[str]],
        typer.Option(help="NAME=VALUE of what the architecture takes beside these; repeatable.", show_default=False),
    ] = None,
    protocol: Annotated[
        Optional[str],
        _field(
            "held-out-refit, the default: choose the epoch on the last tenth of the sessions, then train on all of "
            "them with what was chosen. held-out: choose it alone. all: no validation, epochs fixed. "
            "published, published-test: as the published code does, for comparison."
        ),
    ] = None,
    epochs: Annotated[Optional[int], _field("Passes over the examples, at most; best: 8, clean: 30.")] = None,
    patience: Annotated[
        Optional[int],
        _field("Epochs without a better validation MRR@20 after which training stops; clean: 3; 0: never."),
    ] = None,
    batch_size: Annotated[Optional[int], _field("Examples per step.")] = None,
    max_clicks_per_batch: Annotated[
        Optional[int], _field("Clicks computed at once; a step with more takes parts, and no more memory.")
    ] = None,
    learning_rate: Annotated[Optional[float], _field("Adam's, in the first epochs.")] = None,
    optimizer: Annotated[
        Optional[str], _field("adam, whose weight decay is an L2 penalty, or adamw, which has it apart.")
    ] = None,
    weight_decay: Annotated[Optional[float], _field("Of the optimiser.")] = None,
    weight_decay_on: Annotated[Optional[str], _field("all, or matrices: not biases, norms and other vectors.")] = None,
    first_decay: Annotated[
        Optional[int], _field("Epochs at the first learning rate, instead of until MRR@20 rises no more.")
    ] = None,
    decay_every: Annotated[Optional[int], _field("Epochs at each later one, likewise.")] = None,
    decay_factor: Annotated[Optional[float], _field("What each is of the one before.")] = None,
    schedule: Annotated[Optional[str], _field("step, the rates above; or cosine, down to 0 after --epochs.")] = None,
    warmup_steps: Annotated[Optional[int], _field("Steps during which the rate rises at the beginning.")] = None,
    gradient_clipping: Annotated[Optional[float], _field("Length that longer gradients are brought down to.")] = None,
    weight_averaging: Annotated[
        Optional[float], _field("Of a moving average of the weights, which is scored and kept, such as 0.999.")
    ] = None,
    example_half_life: Annotated[
        Optional[float],
        _field("Share of the sessions by which an older one's examples count half as much as the newest's."),
    ] = None,
    adaptive_clipping: Annotated[
        Optional[float],
        _field("Length of a row's gradient, in lengths of the row, that longer ones are brought down to."),
    ] = None,
    label_smoothing: Annotated[Optional[float], _field("Share of each target that belongs to all items alike.")] = None,
    chronological_epochs: Annotated[
        Optional[int], _field("Last ones that take their examples in the order of the sessions.")
    ] = None,
    seed: Annotated[Optional[int], _field("Of parameters, order and dropout.")] = None,
    precision: Annotated[Optional[str], _field("32-true, high, medium, bf16-mixed or 64-true.")] = None,
    accelerator: Annotated[Optional[str], _field("auto, cpu, cuda, ...")] = None,
    logger: Annotated[
        Optional[list[str]],
        typer.Option(
            help="csv, mlflow or wandb: told options and figures, beside TensorBoard; repeatable.", show_default=False
        ),
    ] = None,
    devices: Annotated[
        Optional[int],
        _field("Processes on this machine, each with a GPU or a share of the cores; 1, or what torchrun started."),
    ] = None,
    num_nodes: Annotated[
        Optional[int],
        _field("Machines; on each, the same command with MASTER_ADDR, MASTER_PORT and NODE_RANK set, or torchrun."),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="ddp: each process has the whole model; auto: so, with more than one; sharded: some rows of the items."
        ),
    ] = "auto",
) -> None:
    """Train a model; Ctrl-C writes a checkpoint, --resume goes on to the same losses.

    The fields of the model and the training are the preset's unless given. The test set is read once,
    after the epoch was chosen; by published-test after each.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    options = {name: value for name, value in given.items() if name in OPTIONS}
    layout = find_layout(devices, num_nodes, given["strategy"])
    if not layout.processes.is_first:
        try:
            follow(layout)
        except Interrupted:
            raise typer.Exit(130) from None
        return
    loggers = given.get("logger", [])
    check_loggers(loggers)
    if option:
        options["options"] = parse_options(option)
    if resume is not None:
        if options or any(value is not None for value in (run, config, start_from)):
            raise ValueError("--resume: expected no other options, a run goes on with the configuration it has")
        opened = open_run(resume)
        data = read_dataset(dataset) if dataset is not None else opened.read_dataset()
    else:
        if dataset is None or run is None:
            raise ValueError("train: expected DATASET and --run, or --resume")
        data = read_dataset(dataset)
        opened = new_run(data, run, with_config(config, options), start_from, layout)
    try:
        go_on(opened, data, layout=layout, loggers=loggers)
    except Interrupted as interrupted:
        errors.print(f"{interrupted}\ngo on with: tagnn-fast train --resume {resume or run}", soft_wrap=True)
        raise typer.Exit(130) from None
    if (result := opened.result) is not None:
        show(result, console)
    say(f"wrote {resume or run}")
