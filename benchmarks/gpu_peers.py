"""A training step as the package's peers would take it, on a GPU, and how long an epoch of such steps is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gpu_inputs import HIDDEN
from gpu_loss import plain_losses
from gpu_rates import timed
from inputs import ITEMS, PADDED_LENGTH, sample_batch, training_examples
from peers import padded_encoder, padded_session_graphs, padded_target_attention
from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.ops import library
from tagnn_fast.ops.graph import EncodedSessions

BATCH = 512
PUBLISHED_BATCH = 100  # what the published code trains with; its tensors of every session and item grow with it


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


def batch_and_targets(count: int, device: torch.device) -> tuple[SessionBatch, Tensor]:
    """Real prefixes, and random targets."""
    return sample_batch(count).to(device), torch.randint(0, ITEMS, (count,), device=device)


def time_epoch_of_peers(folder: Path, run: str | None) -> dict[str, Any]:
    """Seconds of an epoch, as many times the median step as it has batches."""
    device = torch.device("cuda")
    torch.set_float32_matmul_precision("high")
    rows: list[dict[str, Any]] = []

    def measure(name: str, precision: str, size: int, step: Callable[[], object]) -> None:
        row: dict[str, Any] = {"peer": name, "precision": precision, "batch": size}
        try:
            row["epoch"] = timed(step, seconds=10) * len(training_examples()) / size
        except Exception as error:  # out of memory, or a compiler that gives up: the others are still worth having
            row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            torch.cuda.empty_cache()
        rows.append(row)
        print(row, flush=True)

    config = ModelConfig(ITEMS, hidden_size=HIDDEN)
    for precision in ("tf32", "bf16"):
        model = TAGNNPP(config).to(device).train()
        for name, loss in plain_mean_losses(model, *batch_and_targets(BATCH, device)).items():
            measure(name, precision, BATCH, learning(model, loss, precision == "bf16"))
    model = TAGNNPP(config).to(device).train()
    loss = published_mean_loss(model, *batch_and_targets(PUBLISHED_BATCH, device))
    measure("published", "tf32", PUBLISHED_BATCH, learning(model, loss, autocast=False))
    return {"table": epoch_table(rows), "rows": rows}


def epoch_table(rows: list[dict[str, Any]]) -> dict[str, str]:
    """An epoch of each peer, from its median step."""
    return {
        f"epoch, {row['peer']}, {row['precision']}": f"{row['epoch']:,.1f} s" if "epoch" in row else row["error"][:60]
        for row in rows
    }
