"""How long an epoch of the peers' steps is, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.calls import BATCH, HIDDEN
from benchmarks.inputs import ITEMS, sample_batch, training_examples
from benchmarks.peers.steps import learning, plain_mean_losses, published_mean_loss
from benchmarks.timing import timed_on_gpu
from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch

PUBLISHED_BATCH = 100  # what the published code trains with; its tensors of every session and item grow with it


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
            row["epoch"] = timed_on_gpu(step, seconds=10) * len(training_examples()) / size
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
