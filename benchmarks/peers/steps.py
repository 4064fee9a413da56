"""A training step as the package's peers would take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.inputs import PADDED_LENGTH
from benchmarks.peers.losses import plain_losses
from benchmarks.peers.published import padded_encoder, padded_session_graphs, padded_target_attention
from tagnn_fast import TAGNNPP, SessionBatch
from tagnn_fast.ops import library
from tagnn_fast.ops.graph import EncodedSessions


@contextmanager
def plain_definitions() -> Iterator[None]:
    """Ops on a GPU are what they are without native kernels there."""
    before, library._HAS_CUDA = library._HAS_CUDA, False
    try:
        yield
    finally:
        library._HAS_CUDA = before


def learning(model: TAGNNPP, mean_loss: Callable[[], Tensor], autocast: bool) -> Callable[[], object]:
    """A step of Adam on one batch, again and again: more than a peer could hope for, whose batches differ in size."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext():
            loss = mean_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_mean_losses(model: TAGNNPP, batch: SessionBatch, targets: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The mean loss of a batch in plain PyTorch, for every way of target attention that is worth compiling."""

    def with_target_attention(loss: Callable[..., Tensor]) -> Tensor:
        with plain_definitions():
            encoded = model.encode(*batch)
            return loss(*encoded[:3], model.item_embedding.weight[1:])

    with plain_definitions(), torch.no_grad():
        encoded = EncodedSessions(*(value.detach() for value in model.encode(*batch)))
    losses = plain_losses(encoded, targets)
    return {name: lambda loss=loss: with_target_attention(loss) for name, loss in losses.items()}


def published_mean_loss(model: TAGNNPP, batch: SessionBatch, targets: Tensor) -> Callable[[], Tensor]:
    """The published step: graphs by NumPy in every step, everything padded, every attended vector in memory."""
    parts = batch.items.cpu().tensor_split(batch.offsets[1:-1].cpu())
    prefixes = [[int(item) for item in part] for part in parts]
    device = model.item_embedding.weight.device

    def mean_loss() -> Tensor:
        arrays = padded_session_graphs(prefixes, PADDED_LENGTH)
        alias, adjacency, items, mask = (torch.from_numpy(array).to(device) for array in arrays)
        nodes = model.item_embedding(items)  # (sessions, nodes, hidden)
        session, clicks = padded_encoder(model, nodes, adjacency.float(), alias, mask, model.config.attention_dropout)
        clicks = clicks * mask.unsqueeze(2)
        keys = model.target_projection(clicks)  # (sessions, padded length, hidden)
        table = model.item_embedding.weight[1:]
        return cross_entropy(padded_target_attention(session, keys, clicks, table), targets)

    return mean_loss
