"""One epoch in one process with all threads, and in several with a share of them each.

    python -m benchmarks.jobs.parallel_epoch DATASET [--processes 2] [--threads 2] [--architecture sr_gnn]
        [--preset published-yoochoose] [--batch-size 512] [--repeats 1]

runs `tagnn-fast train --protocol all --epochs 1` in both ways, one after the other, without dropout, so that both train
the same: seconds of the epoch as `history.json` has them, seconds of the whole command (which starts processes, reads
the data set and scores the test set), losses, and how far weights and test figures are apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import load_file

from tagnn_fast.runs.run import open_run


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    processes: Annotated[int, typer.Option()] = 2,
    threads: Annotated[int, typer.Option(help="Of all processes together.")] = 2,
    architecture: Annotated[str, typer.Option()] = "tagnn_pp",
    preset: Annotated[str, typer.Option()] = "clean",
    batch_size: Annotated[int, typer.Option()] = 512,
    repeats: Annotated[int, typer.Option(help="Of both, in turn.")] = 1,
) -> None:
    """Train the same epoch both ways and print what it took."""
    options = ["--architecture", architecture, "--preset", preset, "--batch-size", batch_size]
    options += ["--attention-dropout", 0] if architecture == "tagnn_pp" else []  # others have none
    options += ["--accelerator", "cpu", "--protocol", "all", "--epochs", 1, "--first-decay", 1, "--decay-every", 1]
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            for count in (1, processes):
                name, run = f"{count} x {threads // count} threads", Path(folder) / f"{count}-{repeat}"
                rows.setdefault(name, []).append(_train(dataset, run, count, threads // count, options))
                print(f"{name}: {rows[name][-1]}", flush=True)
        one, several = (Path(folder) / f"{count}-0" for count in (1, processes))
        weights, others = (load_file(run / "model.safetensors") for run in (one, several))
        apart = max(float((value - others[name]).abs().max()) for name, value in weights.items())
        figures = [(open_run(run).result or {})["test"] for run in (one, several)]
    table = {
        name: {
            "seconds of the epoch, median": statistics.median(row["epoch"] for row in found),
            "best": min(row["epoch"] for row in found),
            "seconds of the command, median": statistics.median(row["command"] for row in found),
            "training loss": found[0]["loss"],
        }
        for name, found in rows.items()
    }
    differing = max(abs(value - figures[1][name]) for name, value in figures[0].items())
    described = {"dataset": str(dataset), "architecture": architecture, "preset": preset, "batch size": batch_size}
    print(json.dumps({**described, **table, "weights apart": apart, "test figures apart": differing}, indent=1))


def _train(dataset: Path, run: Path, count: int, threads: int, options: list[Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "tagnn_fast.cli", "train", dataset, "--run", run, "--devices", count, *options]
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([*map(str, command)], check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    (record,) = open_run(run).history
    return {"epoch": record["training_seconds"], "command": round(seconds, 2), "loss": record["training_loss"]}


if __name__ == "__main__":
    typer.run(main)
