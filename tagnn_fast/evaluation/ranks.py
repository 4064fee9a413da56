"""Where each target stood in the recommendations: what metrics, breakdowns and tests are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.evaluation.lists import ListStatistics
from tagnn_fast.evaluation.metrics import RankingMetrics
from tagnn_fast.evaluation.scoring import TopK, cutoffs_of, model_topk, recommended_lists
from tagnn_fast.parallel.processes import ALONE, Processes
from tagnn_fast.recommender import Recommender

_FIGURES, _LISTS = b"tagnn_fast.figures", b"tagnn_fast.lists"


@dataclass(frozen=True)
class RankedTargets:
    """Where the targets of some examples stood.

    Attributes:
        ranks: of each example's target in the best 20 (or all items, if fewer), uint8 (examples,); 0 for a miss.
        figures: HR, MRR, NDCG and coverage at 5, 10 and 20, in percent, as :func:`tagnn_fast.evaluation.scoring.score`
            gives them.
        lists: popularity and Gini coefficient of the lists, see :class:`~tagnn_fast.evaluation.lists.ListStatistics`.
    """

    ranks: Tensor
    figures: dict[str, float]
    lists: dict[str, float]


def rank_targets(
    topk: TopK,
    examples: PrefixExamples,
    vocabulary: Vocabulary,
    batch_size: int = 512,
    advance: Callable[[int], None] = lambda examples: None,
    processes: Processes = ALONE,
) -> RankedTargets:
    """One pass over the examples; no list is kept.

    Args:
        topk: the recommender.
        examples: prefixes and their targets; a target without a row is a miss.
        vocabulary: the items, and how often each was clicked in training.
        batch_size: examples scored at once; fewer where they have very many clicks.
        advance: called with the number of examples after each batch.
        processes: that share the batches; all get what was found by all.

    Raises:
        MemoryError: where there is not enough memory for a batch.
        ValueError: without any example.
    """
    cutoffs = cutoffs_of(len(vocabulary))
    metrics = RankingMetrics(len(vocabulary), cutoffs[-1])
    statistics = ListStatistics(len(vocabulary), cutoffs)
    ranks = torch.zeros(len(examples), dtype=torch.uint8)
    for first, recommended, targets in recommended_lists(topk, examples, cutoffs[-1], batch_size, advance, processes):
        ranks[first : first + targets.numel()] = metrics.update(recommended, targets)
        statistics.update(recommended)
    metrics.add_up(processes)
    statistics.add_up(processes)
    clicks = torch.from_numpy(vocabulary.counts)
    return RankedTargets(processes.sum(ranks), metrics.compute(cutoffs), statistics.compute(clicks))


def rank_model(
    recommender: Recommender,
    examples: PrefixExamples,
    advance: Callable[[int], None] = lambda examples: None,
    processes: Processes = ALONE,
) -> RankedTargets:
    """:func:`rank_targets` of a model; the most popular items answer prefixes without a known click."""
    topk = model_topk(recommender, examples)
    return rank_targets(topk, examples, recommender.vocabulary, advance=advance, processes=processes)


def write_ranks(ranked: RankedTargets, path: Path) -> None:
    """Write a Parquet file with column ``rank``, a row for each example in their order, and the figures beside it."""
    metadata = {_FIGURES: json.dumps(ranked.figures), _LISTS: json.dumps(ranked.lists)}
    pq.write_table(pa.table({"rank": ranked.ranks.numpy()}, metadata=metadata), path)


def read_ranks(path: Path, examples: int) -> RankedTargets:
    """What :func:`write_ranks` wrote.

    Raises:
        FileNotFoundError: where it is not there.
        ValueError: where it is damaged, or of another number of examples.
    """
    try:
        table = pq.read_table(path)
        figures, lists = (json.loads((table.schema.metadata or {})[name]) for name in (_FIGURES, _LISTS))
        ranks = table.column("rank").to_numpy().astype(np.uint8)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected ranks of targets and their figures, got {error}") from None
    if len(ranks) != examples:
        raise ValueError(f"{path}: expected the ranks of {examples:,} targets, got {len(ranks):,}")
    return RankedTargets(torch.from_numpy(ranks), figures, lists)
