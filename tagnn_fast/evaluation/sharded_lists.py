"""Lists of a network whose item table lies in shards, as scoring takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.data.examples import ExampleBatch, PrefixExamples
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.evaluation.scoring import TopK
from tagnn_fast.nn.ranking import popular_where_unknown
from tagnn_fast.parallel.sharded_model import ShardedModel
from tagnn_fast.parallel.sharded_ranker import ShardedLists
from tagnn_fast.recommender import popularity


def sharded_topk(model: ShardedModel, vocabulary: Vocabulary, examples: PrefixExamples) -> TopK:
    """The lists of these examples: all processes ask for the same batches, each encodes a share, and all get all lists.

    They are those that :func:`tagnn_fast.evaluation.scoring.model_topk` gives for the whole network, with the most
    popular items where nothing is known.
    """
    published = model.model.config.semantics == "published"
    padded_length = examples.longest_prefix() if published else None
    sharded = ShardedLists(model)
    counts, popular = (value.to(sharded.table.device) for value in popularity(vocabulary))

    @torch.no_grad()
    def topk(batch: ExampleBatch, k: int) -> Tensor:
        items, offsets = batch.items.to(counts.device), batch.offsets.to(counts.device)
        scores, rows, finite = sharded.lists(k, padded_length, offsets, items)
        best = popular_where_unknown(scores, rows, counts, popular, items, offsets, k, None, None)
        if not bool(best.finite & finite):
            raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
        return (best.rows + 1).cpu()

    return topk
