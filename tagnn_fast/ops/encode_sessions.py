"""The whole encoder at once: from clicks to what target attention takes (TAGNN++, sections 3.1 to 3.4)."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.graph import AttentionParameters, EncodedSessions, PropagationParameters, ReadoutParameters


def encode_sessions(
    items: Tensor,
    offsets: Tensor,
    padded_length: Optional[int],
    item_vectors: Tensor,
    propagation: PropagationParameters,
    attention: Optional[AttentionParameters],
    readout: ReadoutParameters,
    target_weight: Tensor,
    recency: Optional[Tensor] = None,
    lengths: Optional[tuple[float, float]] = None,
) -> EncodedSessions:
    """Session graphs, gated propagation, attention inside sessions, readout and keys; without gradient, on the CPU.

    What the ops of each give: to the bit, but to rounding where there are up to 8 slots and sessions. Such requests
    take a fifth of the time, most of which went into calls and tensors.

    Args:
        items: see :func:`tagnn_fast.ops.session_graph`; any row of `item_vectors`.
        offsets: the same.
        padded_length: the same.
        item_vectors: float (items, hidden); row 0 is the padding item.
        propagation: parameters of gated propagation.
        attention: parameters of the attention inside sessions; None for none.
        readout: parameters of the readout.
        target_weight: W_t, which makes keys of node states, float (hidden, hidden).
        recency: added to node states after propagation: a vector for each place that a node's last click may have from
            the end of the session, float (places, hidden), the last of them for all clicks before, too; None for none.
        lengths: that session vectors and values are brought to in the end; None to leave them.

    Raises:
        RuntimeError: on a wrong shape, dtype or device, or an item without a row.
    """
    if not torch.jit.is_scripting() and not library.has_kernel(items):
        return reference.encode_sessions(
            items,
            offsets,
            padded_length,
            item_vectors,
            propagation,
            attention,
            readout,
            target_weight,
            recency,
            lengths,
        )
    p, r = propagation, readout
    of_propagation = p.state_weight, p.state_bias, p.message_bias, p.weight_ih, p.bias_ih, p.rounds
    of_readout = r.query_weight, r.query_bias, r.key_weight, r.key_bias, r.logit_weight, r.normalize
    session_length: Optional[float] = None
    value_length: Optional[float] = None
    if lengths is not None:
        session_length, value_length = lengths
    the_rest = r.hybrid_weight, r.hybrid_bias, target_weight, recency, session_length, value_length
    if attention is None:
        encoded = torch.ops.tagnn_fast.encode_sessions(
            items, offsets, padded_length, item_vectors, *of_propagation,
            None, None, None, None, None, None, 1, *of_readout, *the_rest,
        )  # fmt: skip
    else:
        a = attention
        encoded = torch.ops.tagnn_fast.encode_sessions(
            items, offsets, padded_length, item_vectors, *of_propagation,
            a.qkv_weight, a.qkv_bias, a.out_weight, a.out_bias, a.norm_weight, a.norm_bias, a.heads,
            *of_readout, *the_rest,
        )  # fmt: skip
    # Each by hand: TorchScript does not unpack into a named tuple.
    return EncodedSessions(encoded[0], encoded[1], encoded[2], encoded[3], encoded[4], encoded[5])


@torch.library.register_fake("tagnn_fast::encode_sessions")
def _(
    items: Tensor, offsets: Tensor, padded_length: Optional[int], item_vectors: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    clicks, sessions, hidden = items.shape[0], offsets.shape[0] - 1, item_vectors.shape[1]
    slots = clicks if padded_length is None else clicks + sessions
    vectors = (item_vectors.new_empty((rows, hidden)) for rows in (sessions, slots, slots))
    integers = (items.new_empty((size,)) for size in (slots, sessions, sessions + 1))
    return (*vectors, *integers)


torch.library.register_autocast("tagnn_fast::encode_sessions", "cpu", torch.float32)
