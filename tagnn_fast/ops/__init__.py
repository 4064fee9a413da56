"""The native ops: one file each, with wrapper, fake kernel and autograd formula."""

# isort: off; the ops are loaded before the modules that describe them
from tagnn_fast.ops import library  # noqa: F401

# isort: on
from tagnn_fast.ops.encode_sessions import encode_sessions
from tagnn_fast.ops.gated_propagation import gated_propagation
from tagnn_fast.ops.graph import (
    AttentionParameters,
    EncodedSessions,
    PropagationParameters,
    ReadoutParameters,
    SessionGraph,
    encoded_sessions,
    encoded_without_nodes,
)
from tagnn_fast.ops.item_item import item_item_topk
from tagnn_fast.ops.item_screen import item_screen, screen_helps
from tagnn_fast.ops.prefix_batch import prefix_batch
from tagnn_fast.ops.session_attention import session_attention
from tagnn_fast.ops.session_graph import session_graph
from tagnn_fast.ops.session_neighbours import session_neighbours_topk
from tagnn_fast.ops.session_readout import session_readout
from tagnn_fast.ops.session_repeats import session_repeats
from tagnn_fast.ops.target_attention import (
    target_attention_cross_entropy,
    target_attention_scores,
    target_attention_topk,
)

__all__ = [
    "AttentionParameters",
    "EncodedSessions",
    "PropagationParameters",
    "ReadoutParameters",
    "SessionGraph",
    "encode_sessions",
    "encoded_sessions",
    "encoded_without_nodes",
    "gated_propagation",
    "item_item_topk",
    "item_screen",
    "prefix_batch",
    "screen_helps",
    "session_attention",
    "session_graph",
    "session_neighbours_topk",
    "session_readout",
    "session_repeats",
    "target_attention_cross_entropy",
    "target_attention_scores",
    "target_attention_topk",
]
