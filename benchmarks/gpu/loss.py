"""The loss over the whole catalogue on a GPU: the op, plain PyTorch at its best, and the published formulation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.gpu.calls import BATCH, PRECISIONS, encode, random_model, target_attention_work, trained_model
from benchmarks.gpu.rates import Rates, extra_memory, measure_rates
from benchmarks.inputs import PADDED_LENGTH, sample_batch, with_floats
from benchmarks.peers.losses import plain_losses
from benchmarks.peers.published import padded_positions, padded_target_attention
from benchmarks.timing import timed_on_gpu
from tagnn_fast import TAGNNPP, ops

LARGE_CATALOGUE = 1_000_000
PLAIN_PRECISIONS = ("tf32", "bf16")


def loss_passes(loss: Callable[..., Tensor], tensors: list[Tensor], autocast: bool) -> dict[str, Callable[[], object]]:
    """Forward, and forward and backward, of a mean loss."""
    leaves = [value.detach().requires_grad_() for value in tensors]

    def context() -> Any:
        return torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext()

    def forward() -> object:
        with torch.no_grad(), context():
            return loss(*leaves)

    def both() -> object:
        with context():
            value = loss(*leaves)
        return torch.autograd.grad(value, leaves)

    return {"forward": forward, "forward and backward": both}


def measure_loss(
    name: str, precision: str, calls: dict[str, Callable[[], object]], work: float, rates: Rates
) -> list[dict[str, Any]]:
    """Seconds, share of the card's bf16 rate and extra memory of a variant; why not, where it does not run."""
    rows = []
    for what, call in calls.items():
        row: dict[str, Any] = {"variant": name, "precision": precision, "pass": what}
        try:
            seconds, memory = timed_on_gpu(call), extra_memory(call)
            flop = 2 * work * (1 if what == "forward" else 4)
            row.update(seconds=seconds, megabytes=memory, bf16_share=flop / seconds / rates.products["bf16"])
        except Exception as error:  # out of memory, or a compiler that gives up: the others are still worth having
            row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            torch.cuda.empty_cache()
        rows.append(row)
        print(row, flush=True)
    return rows


def native_loss_rows(model: TAGNNPP, rates: Rates) -> list[dict[str, Any]]:
    """The loss op in each precision."""
    _, encoded, targets = encode(model)
    table = model.item_embedding.weight[1:].detach().clone()
    work = target_attention_work(encoded, table.shape[0])

    def loss(*values: Tensor) -> Tensor:
        return ops.target_attention_cross_entropy(with_floats(encoded, *values[:3]), values[3], targets).mean()

    rows = []
    for precision, setting in PRECISIONS.items():
        torch.set_float32_matmul_precision(setting)
        calls = loss_passes(loss, [*encoded[:3], table], autocast=False)
        rows += measure_loss("native", precision, calls, work, rates)
    return rows


def time_loss(folder: Path, run: str | None) -> dict[str, Any]:
    """The loss op at the catalogue of Diginetica, against the published formulation and plain PyTorch."""
    rates = measure_rates()
    model = random_model() if run is None else trained_model(run)
    rows = native_loss_rows(model, rates)
    _, encoded, targets = encode(model)
    table = model.item_embedding.weight[1:].detach().clone()
    work = target_attention_work(encoded, table.shape[0])
    for precision in PLAIN_PRECISIONS:
        torch.set_float32_matmul_precision("high")
        for name, loss in plain_losses(encoded, targets).items():
            calls = loss_passes(loss, [*encoded[:3], table], precision == "bf16")
            rows += measure_loss(name, precision, calls, work, rates)
    rows += published_loss_rows(model, rates)
    return {"table": loss_table(rows), "rows": rows}


def loss_table(rows: list[dict[str, Any]]) -> dict[str, str]:
    """A training step's line for every variant, and how many times as fast the op is as the best in plain PyTorch."""
    table = {}
    fastest: dict[str, float] = {}
    for row in rows:
        if row["pass"] != "forward and backward":
            continue
        name = f"{row['variant']}, {row['precision']}"
        if "error" in row:
            table[name] = row["error"].splitlines()[0][:60]
            continue
        table[name] = (
            f"{1e3 * row['seconds']:8.2f} ms, {row['megabytes']:9,.0f} MB, {100 * row['bf16_share']:4.1f}% of bf16 rate"
        )
        if not row["variant"].startswith("published"):
            kind = "native" if row["variant"] == "native" else "plain"
            fastest[kind] = min(fastest.get(kind, float("inf")), row["seconds"])
    if len(fastest) == 2:
        table["native against the best in plain PyTorch"] = f"{fastest['plain'] / fastest['native']:.1f} times as fast"
    return table


def time_large_loss(folder: Path, run: str | None) -> dict[str, Any]:
    """The loss op at a catalogue of a million, random weights."""
    rows = native_loss_rows(random_model(LARGE_CATALOGUE), measure_rates())
    return {"table": loss_table(rows), "rows": rows}


def published_loss_rows(model: TAGNNPP, rates: Rates) -> list[dict[str, Any]]:
    """Both passes of the published loss; seconds are those of the op's batch, from a smaller one where it must be."""
    torch.set_float32_matmul_precision("high")
    sessions = BATCH
    while True:
        rows = _published_rows(model, rates, sessions)
        if "error" not in rows[-1] or sessions < 8:
            break
        sessions //= 2
    for row in rows:
        row["sessions"] = sessions
        row["variant"] += f", {sessions} sessions at a time"
        if "seconds" in row:
            row["seconds"] *= BATCH / sessions
    return rows


def _published_rows(model: TAGNNPP, rates: Rates, sessions: int) -> list[dict[str, Any]]:
    graph, encoded, targets = encode(model, sessions)
    offsets = sample_batch(sessions).offsets
    keys, values = (
        padded_positions(rows, graph.click_nodes, offsets, PADDED_LENGTH) for rows in (encoded.keys, encoded.values)
    )

    def loss(session: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
        return cross_entropy(padded_target_attention(session, keys, values, table), targets)

    tensors = [encoded.session, keys, values, model.item_embedding.weight[1:].detach().clone()]
    work = target_attention_work(encoded, tensors[-1].shape[0])
    return measure_loss("published", "tf32", loss_passes(loss, tensors, autocast=False), work, rates)
