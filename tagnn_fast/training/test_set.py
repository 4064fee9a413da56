"""The look at the test set at the end of a run: taken once, logged before anybody sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.ranks import RankedTargets, write_ranks
from tagnn_fast.files import replaced_file
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.processes import ALONE, Processes
from tagnn_fast.runs.run import Run


def earlier_look(run: Run, epoch: int) -> dict[str, float] | None:
    """What the look gave if a run that was stopped after it goes on; None before it, or before its ranks were kept."""
    if not run.test_ranks.exists():
        return None
    for read in run.test_reads():
        if read["reader"] == "train" and read.get("epoch") == epoch:
            return dict(read["figures"])
    return None


def look_at_test_set(
    run: Run,
    dataset: Dataset,
    rank: Callable[[PrefixExamples], RankedTargets],
    epoch: int,
    observer: Observer,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Rank the targets of the test set and write the ranks into the run; its figures.

    Args:
        run: whose model it is.
        dataset: that it was made with.
        rank: ranks the targets of examples by the model.
        epoch: of its weights.
        observer: told that it begins.
        processes: that do this at the same time; the first one writes.
    """
    examples = PrefixExamples(dataset.test)
    with replaced_file(run.test_ranks) if processes.is_first else nullcontext() as temporary:
        observer.begin("test", len(examples))
        ranked = rank(examples)
        if temporary is not None:
            write_ranks(ranked, temporary)
            log_look(run, dataset, ranked.figures, epoch)
    return ranked.figures


def log_look(run: Run, dataset: Dataset, figures: Mapping[str, float], epoch: int) -> None:
    """Log a look at the test set, unless the run was stopped after it had done so and sees the same again."""
    look = {"reader": "train", "epoch": epoch, "figures": figures}
    if not any(look.items() <= read.items() for read in run.test_reads()):
        run.log_test_read("train", dataset.name, figures, epoch=epoch)
