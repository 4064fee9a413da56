"""Session graphs: distinct items as nodes, distinct consecutive pairs as edges (SR-GNN, section 3.1)."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from tagnn_fast.ops import library, reference
from tagnn_fast.ops.graph import SessionGraph


def session_graph(items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> SessionGraph:
    """Graphs of all sessions of a batch.

    Any values are taken: item 0 is a click to skip, sessions may be empty, offsets are made to rise.

    Args:
        items: item of each click, int64 (clicks,).
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        padded_length: None for nodes in order of first click and no padding ("clean"); otherwise nodes are sorted by
            item id, and sessions with fewer clicks have an isolated padding node first ("published").

    Raises:
        RuntimeError: on a wrong shape, dtype or device, or a negative padded_length.
    """
    if not torch.jit.is_scripting() and not library.has_kernel(items):
        return SessionGraph(*reference.session_graph(items, offsets, padded_length))
    # Each by hand: TorchScript does not unpack into a named tuple.
    graph = torch.ops.tagnn_fast.session_graph(items, offsets, padded_length)
    return SessionGraph(
        graph[0], graph[1], graph[2], graph[3], graph[4], graph[5], graph[6], graph[7], graph[8], graph[9]
    )


@torch.library.register_fake("tagnn_fast::session_graph")
def _(items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> tuple[Tensor, ...]:
    clicks, sessions = items.shape[0], offsets.shape[0] - 1
    slots = clicks if padded_length is None else clicks + sessions
    shapes = ((slots,), (slots,), (2, slots), (2, slots), (2, clicks), (clicks,), (sessions + 1,))
    per_session = ((sessions,),) * 3
    return tuple(items.new_empty(shape) for shape in shapes + per_session)
