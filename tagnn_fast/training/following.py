"""Processes that train what the first one says: ``python -m tagnn_fast.training.following`` where it starts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tagnn_fast.data.dataset import Dataset, read_dataset
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.parallel.group import joined, run_worker
from tagnn_fast.parallel.layout import Layout, Strategy
from tagnn_fast.parallel.processes import Processes
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training.stopping import stop_on_signal

WORKER = "tagnn_fast.training.following"


def training_of(strategy: Strategy) -> Callable[..., Any]:
    """:func:`tagnn_fast.training.loop.train`, or what takes its place in a strategy."""
    if strategy == "sharded":
        from tagnn_fast.training.sharded_loop import train_sharded

        return train_sharded
    from tagnn_fast.training import loop

    return loop.train


def lead(processes: Processes, run: Run, dataset: Dataset, strategy: Strategy) -> None:
    """Tell the other processes what to train, and how; the first one does, in the group."""
    folder = dataset.folder if dataset.folder is not None else run.folder / run.dataset["path"]
    processes.told(json.dumps([str(run.folder), str(folder.absolute()), strategy]))


def follow(layout: Layout) -> Run:
    """Train what the first process says, where this is another one that was not started by it.

    Raises:
        KeyboardInterrupt, LostProcessError, FloatingPointError, MemoryError, OSError: see :func:`tagnn_fast.fit`.
    """
    with stop_on_signal() as stop, joined(layout, WORKER) as processes:
        return _train(processes, stop)


def _train(processes: Processes, stop: Callable[[], bool] = lambda: False) -> Run:
    keep_freed_memory()
    run, dataset, strategy = json.loads(processes.told())
    opened = open_run(Path(run))
    training_of(strategy)(opened, read_dataset(Path(dataset)), stop=stop, processes=processes)
    return opened


def main() -> None:
    """What a started process does."""
    run_worker(_train, WORKER)


if __name__ == "__main__":
    main()
