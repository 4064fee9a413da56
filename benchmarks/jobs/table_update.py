"""What a step spends on a large item table: the loss, putting its gradient together, the update of table and moments.

    python -m benchmarks.jobs.table_update [--items 1000000] [--hidden-size 100] [--batch-size 512]
        [--architecture tagnn_pp] [--repeats 5]

Every part is timed by itself, the parts in turn, and beside it stands what reading and writing memory alone would take:
the bytes that it must move, at the rate at which this machine reads. An update that is fused into the loss could save
no more than all but the loss takes, less the six streams of table and moments that have to be read and written. "in
blocks" is the update of some thousand rows after the other, each with a gradient that is in the cache: what of that
time is left then. `same_bits`: whether blocks leave the weights and moments that torch.optim.Adam leaves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.jobs.sharded_catalogue import random_batch
from benchmarks.timing import machine_rates
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.nn.architectures import find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.ops import EncodedSessions, target_attention_cross_entropy

BLOCK_ROWS = 2048
ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-5, "eps": 1e-8}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.jobs.table_update")
    for name, value in (("items", 1_000_000), ("hidden-size", 100), ("batch-size", 512), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--architecture", default="tagnn_pp")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rates = machine_rates(0.5)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    parts = make_parts(options)
    for repeat in range(options.repeats + 1):
        for name, (part, _) in parts.items():
            start = time.perf_counter()
            part()
            if repeat > 0:  # the first faults memory in
                seconds[name].append(time.perf_counter() - start)
    table = (options.items + 1) * options.hidden_size * 4
    figures = {
        **vars(options),
        "threads": torch.get_num_threads(),
        "gemm_gflops": round(rates["gemm"] / 1e9, 1),
        "read_gb_per_second": round(rates["bandwidth"] / 1e9, 1),
        "same_bits": blocks_are_adam(options.hidden_size),
        "parts": {
            name: {
                "seconds": round(statistics.median(seconds[name]), 4),
                "best": round(min(seconds[name]), 4),
                "floor": round(streams * table / rates["bandwidth"], 4),
            }
            for name, (_, streams) in parts.items()
        },
    }
    print(json.dumps(figures, indent=1))


def make_parts(options: argparse.Namespace) -> dict[str, tuple[Callable[[], None], int]]:
    """Each part of a step, and how often it reads or writes as much memory as the table has."""
    config = ModelConfig(options.items, options.hidden_size, attention_dropout=0.0)
    torch.manual_seed(0)
    model = find_architecture(options.architecture)(config)
    clicks, offsets, targets = random_batch(options.items, options.batch_size, 0)
    encoded = EncodedSessions(*(value.detach() for value in model.encode(clicks, offsets)))
    weight = model.item_embedding.weight.detach()
    gradient = torch.randn(options.items, options.hidden_size) * 1e-6
    moments = [torch.zeros_like(weight), torch.zeros_like(weight)]
    steps = torch.tensor(1.0)
    of_clicks = torch.randn(clicks.shape[0], options.hidden_size)
    whole = torch.randn_like(weight) * 1e-6
    small = torch.randn(BLOCK_ROWS, options.hidden_size) * 1e-6

    def loss() -> None:
        session, keys, values = (value.clone().requires_grad_() for value in encoded[:3])
        table = weight[1:].requires_grad_()
        sessions = EncodedSessions(session, keys, values, *encoded[3:])
        target_attention_cross_entropy(sessions, table, targets - 1).mean().backward()

    def put_together(sparse: bool) -> Callable[[], None]:
        """What autograd does with the gradients of the scores and of look-ups."""
        leaf = weight.clone().requires_grad_()

        def part() -> None:
            leaf.grad = None
            looked_up = torch.nn.functional.embedding(clicks, leaf, sparse=sparse)
            torch.autograd.backward([leaf[1:], looked_up], [gradient, of_clicks])

        return part

    def update_in_blocks() -> None:
        for rows in blocks(weight):
            update([part[rows] for part in (weight, *moments)], small[: rows.stop - rows.start], steps)

    return {
        "loss and its gradients": (loss, 3),  # the table twice, its gradient once
        "gradient put together": (put_together(False), 7),
        "the same, look-ups sparse": (put_together(True), 3),
        "update": (lambda: update([weight, *moments], whole, steps), 7),
        "update in blocks": (update_in_blocks, 6),
    }


def blocks(weight: Tensor) -> Iterator[slice]:
    for first in range(0, weight.shape[0], BLOCK_ROWS):
        yield slice(first, min(first + BLOCK_ROWS, weight.shape[0]))


def update(state: Sequence[Tensor], gradient: Tensor, steps: Tensor) -> None:
    """Adam's, of vectors and their two moments."""
    weight, *moments = state
    parts = [weight], [gradient], *([moment] for moment in moments)
    torch._fused_adam_(*parts, [], [steps], amsgrad=False, maximize=False, **ADAM)


def blocks_are_adam(hidden_size: int, steps: int = 3) -> bool:
    """Whether updates of blocks and torch.optim.Adam's leave the same bits."""
    weight = torch.randn(2 * BLOCK_ROWS + 5, hidden_size)
    state, leaf = [weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)], weight.clone().requires_grad_()
    how = {"lr": ADAM["lr"], "betas": (ADAM["beta1"], ADAM["beta2"]), "eps": ADAM["eps"]}
    optimizer = torch.optim.Adam([leaf], weight_decay=ADAM["weight_decay"], fused=True, **how)
    for step in range(1, steps + 1):
        gradient = torch.randn_like(weight)
        leaf.grad = gradient.clone()
        optimizer.step()
        for rows in blocks(weight):
            update([part[rows] for part in state], gradient[rows], torch.tensor(float(step)))
    moments = optimizer.state[leaf]
    return all(map(torch.equal, state, (leaf, moments["exp_avg"], moments["exp_avg_sq"])))


if __name__ == "__main__":
    main(sys.argv[1:])
