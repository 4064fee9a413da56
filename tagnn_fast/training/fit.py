"""Training from Python: a new run, or one that stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tagnn_fast.checks import check_path, differing
from tagnn_fast.data.dataset import Dataset, read_dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.extras import needed_by
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.nn.architectures import BASELINE_NAMES, BUILT_IN
from tagnn_fast.nn.config import ModelConfig, RecencyPlace, Semantics
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.group import joined
from tagnn_fast.parallel.layout import ONE_PROCESS, Layout, Strategy, find_layout
from tagnn_fast.parallel.processes import LostProcessError
from tagnn_fast.parallel.sharded_model import check_in_shards
from tagnn_fast.progress import shown
from tagnn_fast.runs.beginning import check_items
from tagnn_fast.runs.configuration import (
    Decayed,
    Optimizer,
    Precision,
    ProtocolName,
    Schedule,
    TrainingConfig,
    make_model,
)
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training.baseline import fit_baseline, plan_baseline
from tagnn_fast.training.device import check_devices
from tagnn_fast.training.following import WORKER, follow, lead, training_of
from tagnn_fast.training.loggers import Logger, LoggerName, check_loggers
from tagnn_fast.training.options import OPTIONS, check_used, with_config
from tagnn_fast.training.protocols import make_protocol
from tagnn_fast.training.recipes import DEFAULT_PRESET, PresetName, resolve
from tagnn_fast.training.stopping import stop_on_signal


def fit(
    data: Dataset | str | Path,
    folder: str | Path,
    preset: PresetName | None = None,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    start_from: Run | str | Path | None = None,
    architecture: str | None = None,
    hidden_size: int | None = None,
    rounds: int | None = None,
    heads: int | None = None,
    attention_dropout: float | None = None,
    hybrid: bool | None = None,
    semantics: Semantics | None = None,
    padded_length: int | None = None,
    readout_softmax: bool | None = None,
    cosine_scale: float | None = None,
    learned_scale: bool | None = None,
    session_share: float | None = None,
    learned_share: bool | None = None,
    item_dropout: float | None = None,
    recency: RecencyPlace | None = None,
    highway: bool | None = None,
    neighbour_weight: float | None = None,
    neighbour_attention: bool | None = None,
    repeats: bool | None = None,
    star: bool | None = None,
    click_counts: bool | None = None,
    edge_counts: bool | None = None,
    item_readout: bool | None = None,
    second_readout: bool | None = None,
    options: Mapping[str, Any] | None = None,
    protocol: ProtocolName | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    batch_size: int | None = None,
    max_clicks_per_batch: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    first_decay: int | None = None,
    decay_every: int | None = None,
    decay_factor: float | None = None,
    optimizer: Optimizer | None = None,
    weight_decay_on: Decayed | None = None,
    schedule: Schedule | None = None,
    warmup_steps: int | None = None,
    gradient_clipping: float | None = None,
    weight_averaging: float | None = None,
    example_half_life: float | None = None,
    adaptive_clipping: float | None = None,
    label_smoothing: float | None = None,
    chronological_epochs: int | None = None,
    seed: int | None = None,
    precision: Precision | None = None,
    accelerator: str | None = None,
    devices: int | None = None,
    num_nodes: int | None = None,
    strategy: Strategy = "auto",
    loggers: Sequence[LoggerName | Logger] = (),
    observer: Observer | None = None,
) -> Run:
    """Train a model to the end: a new run, or one of the same configuration and data set that stopped.

    The same seed, number of threads and machine give the same losses to the bit, stopped in between or not, here and on
    the command line. The generators of PyTorch are seeded, which are the whole process's: two trainings at once in one
    process disturb each other.

    With more than one process (`devices`, `num_nodes`, or torchrun), each takes a share of every batch and of what is
    scored: losses, weights and figures are those of one process but for rounding, and but for dropout and the items of
    label smoothing, which each number of processes draws in its own way. How many there are is no option of the run:
    another number may go on.

    The first Ctrl-C (in a notebook: interrupt) or SIGTERM stops after the step and writes a checkpoint; calling `fit`
    again goes on. The second stops without one. In another thread than the main one, which gets no signals, nothing
    does.

    Args:
        data: the data set, or its folder. Of one that is in no folder, the run keeps a copy in its own.
        folder: of the run. If there is one, it goes on from its newest checkpoint; one that has ended stays as it is.
        preset: options that belong together, of which those below replace some: `config`'s or "best" if not given;
            "clean" is the network without recipes, "published-diginetica" and "published-yoochoose" are the paper's.
        config: a JSON or TOML file, or a mapping, of the options below by name; those that are given replace its own.
        start_from: a run to take model and weights from, on the data set before an update.
        architecture: see :class:`~tagnn_fast.runs.configuration.TrainingConfig` for this and what has to do with
            training, :class:`~tagnn_fast.ModelConfig` for what has to do with the model. None is the preset's.
        hidden_size: of the model.
        rounds: of the model.
        heads: of the model.
        attention_dropout: of the model.
        hybrid: of the model.
        semantics: of the model.
        padded_length: of the model; in "published" semantics, the longest training prefix if not given.
        readout_softmax: of the model.
        cosine_scale: of the model.
        learned_scale: of the model.
        session_share: of the model.
        learned_share: of the model.
        item_dropout: of the model.
        recency: of the model.
        highway: of the model.
        neighbour_weight: of the model.
        neighbour_attention: of the model.
        repeats: of the model.
        star: of the model.
        click_counts: of the model.
        edge_counts: of the model.
        item_readout: of the model.
        second_readout: of the model.
        options: what the architecture takes beside these, by name; `config` may have others of them.
        protocol: which examples are trained on, and which choose the epoch.
        epochs: of the training.
        patience: of the training.
        batch_size: of the training.
        max_clicks_per_batch: of the training.
        learning_rate: of the training.
        weight_decay: of the training.
        first_decay: of the training.
        decay_every: of the training.
        decay_factor: of the training.
        optimizer: of the training.
        weight_decay_on: of the training.
        schedule: of the training.
        warmup_steps: of the training.
        gradient_clipping: of the training.
        weight_averaging: of the training.
        example_half_life: of the training.
        adaptive_clipping: of the training.
        label_smoothing: of the training.
        chronological_epochs: of the training.
        seed: of the training.
        precision: of the training: "32-true", "64-true", "bf16-mixed", or float32 with matrix products in PyTorch's
            "high" or "medium" precision.
        accelerator: of the training.
        devices: processes on this machine, each with a GPU of its own, or a share of the cores; None for one, or as
            many as torchrun has started. The others are started here, and end with the call.
        num_nodes: machines that train together, on each of which the same is called, with MASTER_ADDR, MASTER_PORT and
            NODE_RANK in the environment unless torchrun started it. All see the run's folder and the data set's.
        strategy: "ddp": every process has the whole model, and gradients are summed; "auto": that, with more than one;
            "sharded": each has some rows of the item table, for those that are too large for one.
        loggers: told options, figures of each epoch and of the test, and how it ended ("success", "failed" or
            "interrupted"), beside TensorBoard: "csv", "mlflow", "wandb", or objects with the interface of Lightning's.
            They are no options of the run: one that has the run already is told what is new, another one everything.
        observer: told how it goes, and may stop it; a progress bar if not given. ``Observer()`` shows nothing.

    Returns:
        The run, with its ``history``, its ``result`` and its ``recommender()``.

    Raises:
        TypeError, ValueError: on an option that is refused, a data set too small for the protocol, or a run in `folder`
            of another configuration or data set, naming what differs. Nothing is written then.
        FileExistsError: where `folder` is something else.
        KeyboardInterrupt: after a checkpoint, see above.
        LostProcessError: a ConnectionError, where one of several processes ends before its time.
        ModuleNotFoundError: without the extra ``tagnn_fast[train]``, or a logger's, which is named.
        ConnectionError: where a logger cannot be opened, before anything is trained; one that fails later is said once.
        FloatingPointError, MemoryError, OSError: see :func:`tagnn_fast.training.loop.train`.
    """
    given = {name: value for name, value in locals().items() if name in OPTIONS and value is not None}
    layout = find_layout(devices, num_nodes, strategy)
    if not layout.processes.is_first:
        return follow(layout)
    check_loggers(loggers)
    given = with_config(config, given)
    dataset = data if isinstance(data, Dataset) else read_dataset(check_path(data, "data", "a data set or its folder"))
    folder = check_path(folder, "folder", "a path").absolute()
    if (folder / "config.json").exists():
        run = open_run(folder)
        check_same_run(run, dataset, given, start_from)
    else:
        run = new_run(dataset, folder, given, start_from, layout)
    return resume(run, dataset, observer, layout, loggers)


def new_run(
    dataset: Dataset,
    folder: Path,
    options: Mapping[str, Any],
    start_from: Run | str | Path | None = None,
    layout: Layout = ONE_PROCESS,
) -> Run:
    """The folder of a run that is yet to be trained; what would fail later is refused before anything is written.

    Args:
        dataset: what is to be trained on.
        folder: to make.
        options: those of :func:`fit` by name, `preset` among them, without those that are None.
        start_from: see :func:`fit`.
        layout: of the processes that are to train it.

    Raises:
        FileExistsError: where the folder exists.
        TypeError, ValueError: see :func:`fit`.
    """
    before = _opened(start_from)
    model, training = plan(dataset, options, before)
    check_layout(model, training, layout)
    return create_run(folder, model, training, dataset, dataset.folder, before)


@needed_by("fit")
def plan(dataset: Dataset, options: Mapping[str, Any], before: Run | None = None) -> tuple[ModelConfig, TrainingConfig]:
    """The configuration of a run; refuses what would fail later.

    Args:
        dataset: what is to be trained on.
        options: see :func:`new_run`.
        before: the run to take model and weights from, if any.

    Raises:
        TypeError, ValueError: see :func:`fit`.
    """
    if options.get("architecture") in BASELINE_NAMES:
        return plan_baseline(dataset, options, before)
    import tagnn_fast.training.loop  # noqa: F401 (packages that it needs are missed before a folder is made)

    known = dict(options) if before is None else {**options, "architecture": _check_start(before, options)}
    preset = known.pop("preset", DEFAULT_PRESET)
    longest = PrefixExamples(dataset.train).longest_prefix()
    model, training = resolve(preset, known, len(dataset.vocabulary), longest)
    if before is not None:
        check_items(before.vocabulary, dataset.vocabulary)
        model = replace(before.model, num_items=len(dataset.vocabulary))
    check_used(options, model, training)
    make_protocol(training.protocol, dataset, training.seed, None if before is None else before.trained_until)
    with torch.device("meta"):
        make_model(model, training)
    check_devices(training)
    return model, training


@needed_by("fit")
def check_layout(model: ModelConfig, training: TrainingConfig, layout: Layout) -> None:
    """Refuse processes that cannot train a run together.

    Raises:
        ValueError: naming what is in the way.
    """
    if not layout.processes.is_group:
        return
    if training.is_baseline:
        many = layout.processes.count > 1
        asked, got = ("devices: expected 1", layout.devices) if many else ("strategy: expected auto", layout.strategy)
        raise ValueError(f"{asked} with {training.architecture}, which counts in one process, got {got}")
    if training.architecture not in BUILT_IN and layout.started_by == "this" and layout.devices > 1:
        raise ValueError(
            f"devices: expected 1 with {training.architecture}, an architecture that processes started from here do "
            f"not know, got {layout.devices}; started by torchrun, each of them registers it"
        )
    if layout.strategy == "sharded":
        check_in_shards(training.architecture, model, layout.processes.count)
        for name in ("gradient_clipping", "weight_averaging", "label_smoothing"):
            if value := getattr(training, name):
                raise ValueError(f"{name}: expected 0 with a catalogue in shards, got {value}")
    check_devices(training, layout)


@needed_by("fit")
def resume(
    run: Run,
    dataset: Dataset | None = None,
    observer: Observer | None = None,
    layout: Layout = ONE_PROCESS,
    loggers: Sequence[LoggerName | Logger] = (),
) -> Run:
    """Train a run to its end, from where it stands.

    Args:
        run: the run.
        dataset: that it was made with; read from its folder if not given.
        observer: see :func:`fit`.
        layout: of the processes that train it, of which this is the first.
        loggers: see :func:`fit`.

    Raises:
        ValueError: on another data set, or a damaged checkpoint.
        KeyboardInterrupt, LostProcessError, FloatingPointError, MemoryError, OSError: see :func:`fit`.
    """
    if run.training.is_blend:
        raise ValueError(f"{run.folder}: expected a run that is trained, got an ensemble or hybrid of others")
    check_layout(run.model, run.training, layout)
    dataset = dataset if dataset is not None else run.read_dataset()
    keep_freed_memory()
    with shown(observer) as told, stop_on_signal() as stop:
        if run.training.is_baseline:
            fit_baseline(run, dataset, told, lambda: stop() or told.stop(), loggers)
            return run
        train = training_of(layout.strategy)
        try:
            with joined(layout, WORKER) as processes:
                lead(processes, run, dataset, layout.strategy)
                train(run, dataset, told, lambda: stop() or told.stop(), processes, loggers=loggers)
        except LostProcessError as error:
            raise LostProcessError(f"{run.folder}: {error}") from error
    return run


def _opened(run: Run | str | Path | None) -> Run | None:
    if run is None or isinstance(run, Run):
        return run
    return open_run(check_path(run, "start_from", "a run or its folder"))


def _check_start(run: Run, options: Mapping[str, Any]) -> str:
    """The architecture of a run to start from; no option of its network may be given."""
    if run.training.is_baseline or run.training.is_blend:
        raise ValueError(f"start_from: expected a run of a network, got one of {run.training.architecture}")
    if given := sorted((asdict(run.model).keys() | {"architecture"}) & options.keys()):
        raise ValueError(f"--start-from: expected no options of the model, which is that run's, got {', '.join(given)}")
    return run.training.architecture


def check_same_run(
    run: Run, dataset: Dataset, options: Mapping[str, Any], start_from: Run | str | Path | None = None
) -> None:
    """Refuse a run that is not what a new one would be, as with options that have another default by now.

    Args:
        run: that is there.
        dataset: see :func:`new_run`, as what follows.
        options: those asked for.
        start_from: see there.

    Raises:
        ValueError: naming what differs.
    """
    run.check_dataset(dataset)
    before = _opened(start_from)
    model, training = plan(dataset, options, before)
    wanted = {**asdict(model), **asdict(training), "start_from": before and str(before.folder.resolve())}
    found = {**asdict(run.model), **asdict(run.training), "start_from": run.dataset.get("start_from")}
    if others := differing(found, wanted):
        raise ValueError(
            f"{run.folder}: expected a run of this configuration to go on with, got one with {others}; "
            "another folder makes a new one"
        )
