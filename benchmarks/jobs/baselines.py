"""Baselines on a whole data set: seconds to fit, seconds for all test prefixes, milliseconds for one session.

    python -m benchmarks.jobs.baselines DATASET FIGURES.json [--methods vs_knn,stan] [--python 2000]

times the methods with their default options, each in a process of its own, on as many threads as PyTorch has, and
beside them V-SkNN and sequential rules in plain Python on some of the same prefixes (0: without). What is recommended
is not held against the targets: this chooses nothing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import tagnn_fast
from benchmarks.timing import in_own_process, machine_rates
from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import PrefixExamples, read_dataset
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.recommender import Recommender

K, BATCH, SINGLE = 20, 512, 2000  # length of lists; sessions at once; sessions that are asked for one by one


def measure(folder: Path, method: str) -> dict[str, Any]:
    """One method, in this process."""
    dataset = read_dataset(folder)
    baseline = BASELINES[method](ModelConfig(len(dataset.vocabulary)))
    start = time.perf_counter()
    baseline.fit(dataset.train)
    fitted = time.perf_counter()
    recommender = Recommender(baseline, dataset.vocabulary)
    examples = PrefixExamples(dataset.test)
    for batch in examples.batches(BATCH):
        recommender.topk(batch.items, batch.offsets, K)
    scored = time.perf_counter()
    drawn = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:SINGLE]
    batch = examples.cut(drawn)
    known = [part[part > 0].numpy() for part in batch.items.tensor_split(batch.offsets[1:-1])]
    sessions = [dataset.vocabulary.decode(part).to_pylist() for part in known]
    times = []
    for session in sessions:
        begin = time.perf_counter()
        recommender.recommend([session], K)
        times.append(1e3 * (time.perf_counter() - begin))
    return {
        "fit_seconds": fitted - start,
        "seconds": scored - fitted,
        "prefixes": len(examples),
        "one_session_p50_ms": float(np.median(times)),
        "one_session_p99_ms": float(np.quantile(times, 0.99)),
        "stored_megabytes": sum(value.nbytes for value in baseline.state_dict().values()) / 1e6,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    figures: Annotated[Path, typer.Argument(help="JSON file to write.")],
    methods: Annotated[str, typer.Option(help="Names, separated by commas; all if not given.")] = ",".join(BASELINES),
    python: Annotated[int, typer.Option(help="Prefixes that plain Python answers; 0 for none.")] = 2000,
) -> None:
    """Time the methods, one after the other."""
    names = methods.split(",")
    for name in names:
        if name not in BASELINES:
            raise typer.BadParameter(f"methods: expected some of {', '.join(BASELINES)}, got {name}")
    result: dict[str, Any] = {
        "dataset": read_dataset(dataset).name,
        "threads": torch.get_num_threads(),
        "cpu_capability": tagnn_fast.cpu_capability(),
        "machine": machine_rates(1.0),
    }
    for name in names:
        result[name] = in_own_process([sys.executable, "-m", __spec__.name, "one", str(dataset), name])
        print(name, json.dumps(result[name]), flush=True)
    if python:
        command = [sys.executable, "-m", "benchmarks.peers.plain_neighbours", str(dataset), "--prefixes", str(python)]
        result["plain_python"] = in_own_process(command)
        print("plain_python", json.dumps(result["plain_python"]), flush=True)
    figures.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "one":
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3])))
    else:
        typer.run(main)
