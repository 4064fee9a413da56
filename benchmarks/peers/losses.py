"""The loss over the whole catalogue in plain PyTorch, compiled and not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from benchmarks.inputs import with_floats
from benchmarks.peers.nodes import node_log_sum_exp, node_scores, padded_nodes
from tagnn_fast.ops import reference
from tagnn_fast.ops.graph import EncodedSessions

CHUNK = 8192  # items that a chunked peer scores at once


def plain_losses(encoded: EncodedSessions, targets: Tensor) -> dict[str, Callable[..., Tensor]]:
    """The loss in plain PyTorch, as functions of session vectors, keys, values and table: every way worth compiling."""
    place, mask = padded_nodes(encoded.click_counts, encoded.slot_offsets)
    compiled_scores = torch.compile(reference._scores, dynamic=False)
    compiled_nodes = torch.compile(node_scores, dynamic=False)
    compiled_chunk = torch.compile(node_log_sum_exp, dynamic=False)

    def segments(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        return cross_entropy(function(with_floats(encoded, *values[:3]), values[3], False).float(), targets)

    def padded(session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
        return cross_entropy(compiled_nodes(session, keys[place], values[place], mask, table).float(), targets)

    def chunked(session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
        own = keys[place], values[place], mask
        parts = [
            checkpoint(compiled_chunk, session, *own, part, use_reentrant=False, preserve_rng_state=False)
            for part in table.split(CHUNK)
        ]
        target = (node_scores(session, *own, table[targets], own_item=True)).float()
        return (torch.stack(parts).logsumexp(0) - target).mean()

    def reference_loss(*values: Tensor) -> Tensor:
        return reference.target_attention_cross_entropy(with_floats(encoded, *values[:3]), values[3], targets).mean()

    return {
        "plain, chunked": reference_loss,
        "plain, all kept": lambda *values: segments(reference._scores, *values),
        "compiled, all kept": lambda *values: segments(compiled_scores, *values),
        "compiled, padded nodes": padded,
        "compiled, padded nodes, chunked": chunked,
    }
