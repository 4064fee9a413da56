"""Scoring recommenders on examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from torch import Tensor, nn

from tagnn_fast.data.examples import ExampleBatch, PrefixExamples
from tagnn_fast.evaluation.metrics import RankingMetrics
from tagnn_fast.memory import enough_memory
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.parallel.processes import ALONE, Processes
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import MAX_CLICKS_PER_BATCH

CUTOFFS = (5, 10, 20)

TopK = Callable[[ExampleBatch, int], Tensor]  # item indices, best first, int64 (examples, k)


def score(
    topk: TopK,
    examples: PrefixExamples,
    num_items: int,
    batch_size: int = 512,
    advance: Callable[[int], None] = lambda examples: None,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """HR, MRR, NDCG and coverage at 5, 10 and 20 (or all items, if fewer), in percent, ranking the full catalogue.

    Args:
        topk: the recommender.
        examples: prefixes and their targets; a target without a row is a miss and stays in the denominator.
        num_items: size of the catalogue.
        batch_size: examples scored at once; fewer where they have very many clicks.
        advance: called with the number of examples after each batch.
        processes: that share the batches; all get the figures of all.

    Raises:
        MemoryError: where there is not enough memory for a batch.
    """
    cutoffs = cutoffs_of(num_items)
    metrics = RankingMetrics(num_items, cutoffs[-1])
    for _, recommended, targets in recommended_lists(topk, examples, cutoffs[-1], batch_size, advance, processes):
        metrics.update(recommended, targets)
    metrics.add_up(processes)
    return metrics.compute(cutoffs)


def cutoffs_of(num_items: int) -> tuple[int, ...]:
    """5, 10 and 20, or all items of a catalogue that has fewer; rising."""
    return tuple(sorted({min(cutoff, num_items) for cutoff in CUTOFFS}))


def recommended_lists(
    topk: TopK,
    examples: PrefixExamples,
    k: int,
    batch_size: int,
    advance: Callable[[int], None],
    processes: Processes = ALONE,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Batch by batch: place of its first example, what is recommended, int64 (examples, k), and what was clicked.

    Of several processes, each takes one batch of as many as there are processes, and tells `advance` of all of them.
    """
    batches = examples.batches(batch_size, most_clicks=MAX_CLICKS_PER_BATCH)
    done = 0
    while turn := list(islice(batches, processes.count)):
        sizes = [batch.targets.numel() for batch in turn]
        if processes.rank < len(turn):
            batch = turn[processes.rank]
            with enough_memory("scoring"):
                recommended = topk(batch, k)
            yield done + sum(sizes[: processes.rank]), recommended, batch.targets
        done += sum(sizes)
        advance(sum(sizes))


def score_model(
    recommender: Recommender,
    examples: PrefixExamples,
    advance: Callable[[int], None] = lambda examples: None,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """A model's figures; the most popular items answer prefixes without a known click."""
    num_items = len(recommender.vocabulary)
    return score(model_topk(recommender, examples), examples, num_items, advance=advance, processes=processes)


def padding_of(model: nn.Module, examples: PrefixExamples) -> int | None:
    """The longest of these prefixes, to which networks in "published" semantics pad, also those of a blend; or None."""
    networks = [module for module in model.modules() if isinstance(module, SessionModel)]
    return examples.longest_prefix() if any(one.config.semantics == "published" for one in networks) else None


def model_topk(recommender: Recommender, examples: PrefixExamples) -> TopK:
    """A model's lists for these examples.

    In "published" semantics, prefixes are padded to the longest of them, as the published code does.
    """
    padded_length = padding_of(recommender.model, examples)

    def topk(batch: ExampleBatch, k: int) -> Tensor:
        return recommender.topk(batch.items, batch.offsets, k, padded_length).items

    return topk
