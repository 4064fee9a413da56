"""Lists of a network whose item table lies in shards, as scoring takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from tagnn_fast.data.examples import ExampleBatch, PrefixExamples
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.evaluation.scoring import TopK
from tagnn_fast.nn.ranking import popular_where_unknown
from tagnn_fast.parallel import sharded_ops
from tagnn_fast.parallel.collectives import gather_parts, largest
from tagnn_fast.parallel.sharded_model import ShardedModel
from tagnn_fast.recommender import popularity


def sharded_topk(model: ShardedModel, vocabulary: Vocabulary, examples: PrefixExamples) -> TopK:
    """The lists of these examples: all processes ask for the same batches, each encodes a share, and all get all lists.

    They are those that :func:`tagnn_fast.evaluation.scoring.model_topk` gives for the whole network, with the most
    popular items where nothing is known.
    """
    published = model.model.config.semantics == "published"
    padded_length = examples.longest_prefix() if published else None
    group, device = model.shard.group, model.rows.device
    counts, popular = (value.to(device) for value in popularity(vocabulary))

    @torch.no_grad()
    def topk(batch: ExampleBatch, k: int) -> Tensor:
        model.eval()
        shares = torch.arange(batch.targets.shape[0]).tensor_split(model.shard.processes)
        sizes = [share.shape[0] for share in shares]
        first = sum(sizes[: model.shard.rank])
        offsets = batch.offsets[first : first + sizes[model.shard.rank] + 1]
        items = batch.items[int(offsets[0]) : int(offsets[-1])].to(device)
        offsets = (offsets - offsets[0]).to(device)
        encoded = model.model.encode(items, offsets, padded_length)
        scores, rows = sharded_ops.topk(encoded, model.item_vectors(), k, model.shard)
        best = popular_where_unknown(scores, rows, counts, popular, items, offsets, k, None, None)
        is_finite = bool(best.finite & encoded.session.isfinite().all())
        if largest([0 if is_finite else 1], device, group) == [1]:
            raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
        (lists,) = gather_parts([best.rows + 1], [max(sizes)], group)
        own = zip(lists.split(max(sizes)), sizes, strict=True)
        return torch.cat([rows[:size] for rows, size in own]).cpu()

    return topk
