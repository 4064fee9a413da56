"""One epoch of training, and where its time goes.

    python -m benchmarks.jobs.training_epoch DATASET [--preset published-diginetica] [--batch-size 512] [--steps N]
        [--precision medium]

runs the steps of `tagnn-fast train --protocol all --epochs 1` over all training examples (or the first N batches), in
float32, or with products in PyTorch's "high" or "medium" precision. The backward pass is run in two parts, so that
target attention can be told from the rest of the model.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from tagnn_fast import ops
from tagnn_fast.data import PrefixExamples, read_dataset
from tagnn_fast.data.examples import shuffled
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.ops.graph import EncodedSessions
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.training.recipes import resolve


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    preset: Annotated[str, typer.Option()] = "published-diginetica",
    batch_size: Annotated[int, typer.Option()] = 512,
    steps: Annotated[Optional[int], typer.Option(help="Stop after this many.")] = None,
    precision: Annotated[str, typer.Option(help="Of products: highest, high or medium.")] = "highest",
) -> None:
    """Train one epoch and print seconds by part."""
    keep_freed_memory()
    torch.set_float32_matmul_precision(precision)
    data = read_dataset(dataset)
    examples = PrefixExamples(data.train)
    overrides = {"protocol": "all", "batch_size": batch_size, "epochs": 1}
    options, training = resolve(preset, overrides, len(data.vocabulary), examples.longest_prefix())
    model = make_model(options, training).train()
    optimizer = torch.optim.Adam(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    seconds: defaultdict[str, float] = defaultdict(float)
    loss_sum, done = 0.0, 0
    began = mark = time.perf_counter()

    def spend(part: str) -> None:
        nonlocal mark
        now = time.perf_counter()
        seconds[part] += now - mark
        mark = now

    for step, batch in enumerate(examples.batches(batch_size, shuffled(len(examples), training.seed, 0))):
        if step == steps:
            break
        spend("data")
        optimizer.zero_grad()
        spend("optimizer")
        encoded = model.encode(batch.items, batch.offsets)
        spend("rest of the model")
        states = [value.detach().requires_grad_() for value in encoded[:3]]
        table = model.item_embedding.weight[1:]
        leaf = table.detach().requires_grad_()
        losses = ops.target_attention_cross_entropy(EncodedSessions(*states, *encoded[3:]), leaf, batch.targets - 1)
        losses.mean().backward()
        spend("target attention")
        torch.autograd.backward([*encoded[:3], table], [*(state.grad for state in states), leaf.grad])
        spend("rest of the model")
        optimizer.step()
        spend("optimizer")
        loss_sum += float(losses.detach().sum())
        done += batch.targets.numel()
        if step % 100 == 0:
            print(f"{done:,} of {len(examples):,}, loss {loss_sum / done:.4f}", flush=True)
    total = time.perf_counter() - began
    if not math.isfinite(loss_sum):
        raise FloatingPointError("loss: expected finite numbers, got others")
    figures = {
        "dataset": data.name,
        "preset": preset,
        "batch size": batch_size,
        "precision": precision,
        "examples": done,
        "seconds": round(total, 2),
        "examples per second": round(done / total, 1),
        "training loss": loss_sum / done,
        "seconds by part": {part: round(value, 2) for part, value in seconds.items()},
        "peak megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
