"""A run's network with its item table in rows on several processes: ``python -m tagnn_fast.runs.in_shards`` is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tagnn_fast.nn.architectures import find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.parallel.group import joined, run_worker
from tagnn_fast.parallel.layout import find_layout
from tagnn_fast.parallel.processes import Processes
from tagnn_fast.parallel.sharded_checkpoints import load_whole
from tagnn_fast.parallel.sharded_model import ShardedModel, check_in_shards
from tagnn_fast.parallel.sharded_ranker import ShardedLists, ShardedRanker
from tagnn_fast.recommender import Recommender, popularity
from tagnn_fast.runs.checkpoints import check_tensors
from tagnn_fast.runs.run import Run, open_run

WORKER = "tagnn_fast.runs.in_shards"
_ADVICE = "what was asked is not answered, and can be asked of a new recommender"
_SILENCE = timedelta(days=3650)  # nothing may be asked for long


@contextmanager
def recommender_in_shards(
    run: Run | str | Path, devices: int | None = None, num_nodes: int | None = None
) -> Iterator[Recommender | None]:
    """The run's network, ready to recommend, while the block runs: for an item table that is too large for one process.

    Each process reads its rows of the run's weights, and nothing else of the item table. Lists are those of
    ``run.recommender()``, to the bit if the same sessions are encoded alike.

    Args:
        run: of a network; or its folder, which all processes see.
        devices: processes on this machine, which are started here; None for as many as torchrun has started.
        num_nodes: machines, see :func:`tagnn_fast.fit`.

    Yields:
        On the first process, a recommender whose `recommend` and `topk` work; on others that torchrun has started,
        None, after they have answered all that the first has asked.

    Raises:
        TypeError, ValueError: on another number of processes than torchrun's; a baseline, a blend, or a network with
            neighbours of items or repeats, which need vectors of other shards; fewer items than processes can share;
            damaged weights.
        FileNotFoundError: before the first epoch has ended.
        LostProcessError: a ConnectionError, where one of the processes ends before its time.
    """
    layout = find_layout(devices, num_nodes, "sharded")
    opened = run if isinstance(run, Run) else open_run(run)
    if layout.processes.is_first:
        check_in_shards(opened.training.architecture, opened.model, layout.processes.count)
        opened.check_trained()
    with joined(layout, WORKER, _ADVICE, _SILENCE) as processes:
        if not processes.is_first:
            _answer(processes)
            yield None
            return
        processes.told(str(opened.folder.absolute()))
        check_tensors(opened.weights)  # the others end with this one
        ranker = ShardedRanker(_read(opened), *popularity(opened.vocabulary))
        yield Recommender(ranker, opened.vocabulary)
        ranker.end()


def new_in_shards(run: Run) -> ShardedModel:
    """Some rows of the run's network, and all else of it, with the parameters that its training begins with."""
    model_class = find_architecture(run.training.architecture)

    def make(config: ModelConfig) -> SessionModel:
        model = model_class(config, **config.options)
        return model.double() if run.training.precision == "64-true" else model

    return ShardedModel.new(make, run.model, run.training.seed)


def _read(run: Run) -> ShardedModel:
    model = new_in_shards(run)
    load_whole(model, run.weights)
    return model


def _answer(processes: Processes) -> None:
    run = open_run(Path(processes.told()))
    ShardedLists(_read(run)).answer()


def main() -> None:
    """What a started process does."""
    run_worker(_answer, WORKER, _ADVICE, _SILENCE)


if __name__ == "__main__":
    main()
