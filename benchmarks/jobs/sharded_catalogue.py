"""Training on a catalogue in shards beside the same in one process: time and memory of each.

    python -m benchmarks.jobs.sharded_catalogue [--items 2000000] [--hidden-size 64] [--steps 50] [--batch-size 512]
        [--processes 2] [--architecture tagnn_pp] [--threads 1]

The batch is the same however many processes share it, of random sessions of 1 to 8 clicks; each process has so many
threads. Prints, for one process and for all, the seconds of a step (the median), the losses of the first and the last,
and of each process the megabytes that it held after its imports and at its peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.timing import in_own_process
from tagnn_fast.memory import keep_freed_memory
from tagnn_fast.nn.architectures import find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.parallel.sharded_model import ShardedModel
from tagnn_fast.training.steps import make_optimizer

MODULE, SEED, LONGEST = "benchmarks.jobs.sharded_catalogue", 1, 8


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=MODULE)
    for name, value in (("items", 2_000_000), ("hidden-size", 64), ("steps", 50), ("batch-size", 512)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--processes", type=int, default=2, help="that hold a shard each")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--architecture", default="tagnn_pp")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # by torchrun
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.worker:
        train(options)
        return
    for processes in (1, options.processes):
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", MODULE]
        print(json.dumps(in_own_process([sys.executable, *start, *arguments, "--worker"])), flush=True)


def train(options: argparse.Namespace) -> None:
    """What each process does; the first prints the figures of all."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    imported = peak_megabytes()
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    config = ModelConfig(options.items, options.hidden_size, attention_dropout=0.0)
    model_class = find_architecture(options.architecture)
    torch.manual_seed(SEED)
    model: nn.Module = ShardedModel.new(model_class, config, SEED) if processes > 1 else model_class(config)
    optimizer = make_optimizer(model, 1e-5, torch.device("cpu"))
    seconds, losses = [], []
    for step in range(options.steps):
        batch = own_part(random_batch(options.items, options.batch_size, step), rank, processes)
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = model.loss(*batch)
        loss.backward()
        if isinstance(model, ShardedModel):
            model.reduce_gradients()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.detach())
    total = torch.stack(losses)
    dist.all_reduce(total)
    megabytes: list[Any] = [None] * processes
    dist.all_gather_object(megabytes, {"after imports": imported, "peak": peak_megabytes()})
    dist.destroy_process_group()
    figures = {
        **{name: value for name, value in vars(options).items() if name not in ("worker", "processes")},
        "processes": processes,
        "seconds_a_step": round(statistics.median(seconds), 4),
        "losses": [round(float(total[place]), 4) for place in (0, -1)],
        "megabytes": megabytes,
    }
    if rank == 0:
        print(json.dumps(figures), flush=True)


def random_batch(items: int, sessions: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clicks, offsets and targets, the same in every process."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (sessions,), generator=generator)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    clicks = torch.randint(1, items + 1, (int(offsets[-1]),), generator=generator)
    return clicks, offsets, torch.randint(1, items + 1, (sessions,), generator=generator)


def own_part(batch: tuple[Tensor, Tensor, Tensor], rank: int, processes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sessions that fall to a process."""
    clicks, offsets, targets = batch
    first, end = (targets.shape[0] * place // processes for place in (rank, rank + 1))
    begin, last = (int(offsets[place]) for place in (first, end))
    return clicks[begin:last], offsets[first : end + 1] - begin, targets[first:end]


def peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1:])
