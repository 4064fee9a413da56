"""Sessions scored by each engine: sessions/s, what the engine costs, memory; and whether all wrote the same tables.

    python -m benchmarks.jobs.batch_scoring FOLDER [--sessions 1000000] [--engine local --engine spark --engine ray]
    python -m benchmarks.jobs.batch_scoring FOLDER --sessions 10000000 --engine local --no-one-thread

makes FOLDER, with a run of a model that nobody trained (43,097 items, d = 100) and sessions of Yoochoose's lengths, and
runs `tagnn-fast recommend` in a process of its own for each engine: for one session, which is the start of the engine
and the loading of the model, and for all. `local, 1 thread` is what one worker would do without an engine around it.

Memory is the most that a process and its descendants had together, half a second apart, shared pages divided among them
(PSS), and the largest of them (RSS).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from tagnn_fast import ModelConfig
from tagnn_fast.data import Dataset, Sessions, Vocabulary, write_dataset
from tagnn_fast.files import load_json
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import create_run

ITEMS, HIDDEN, MEAN_CLICKS = 43_097, 100, 3.57
BLOCK = 200_000  # sessions that are made at once


def write_run(folder: Path, items: int = ITEMS) -> Path:
    """A run whose weights are those that a training begins with; items popular by a power law."""
    counts = (1e6 / np.arange(1, items + 1) ** 0.9).astype(np.int64) + 1
    vocabulary = Vocabulary(pa.array(np.arange(items) + 214_500_000), counts)
    sessions = Sessions.from_lists([[1, 2], [2, 1]])
    dataset = Dataset("benchmark", sessions, sessions, vocabulary)
    write_dataset(dataset, folder / "data")
    model, training = ModelConfig(items, hidden_size=HIDDEN), TrainingConfig()
    run = create_run(folder / "run", model, training, dataset, folder / "data")
    torch.manual_seed(0)
    run.keep_model(make_model(model, training).state_dict(), 1)
    return folder / "run"


def write_sessions(path: Path, sessions: int, items: int = ITEMS) -> Path:
    """Sessions of geometric lengths, on items popular by a power law."""
    generator = np.random.default_rng(0)
    popular = (1 / np.arange(1, items + 1) ** 0.9).cumsum()
    schema = pa.schema([("session", pa.int64()), ("items", pa.list_(pa.int64()))])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, sessions, BLOCK):
            count = min(BLOCK, sessions - first)
            ends = np.concatenate([[0], generator.geometric(1 / MEAN_CLICKS, count).cumsum()]).astype(np.int32)
            clicks = np.searchsorted(popular, generator.random(ends[-1]) * popular[-1]) + 214_500_000
            lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(clicks))
            writer.write_table(pa.table([pa.array(np.arange(first, first + count)), lists], schema=schema))
    return path


def descendants(process: int) -> list[int]:
    """A process and all that it has started, and these."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it is no more
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _megabytes(process: int) -> tuple[float, float]:
    """PSS and RSS of a process; zeros where it is no more."""
    sizes = {"Pss:": 0.0, "Rss:": 0.0}
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, size = line.partition(" ")
            if name in sizes:
                sizes[name] = int(size.split()[0]) / 1000
    return sizes["Pss:"], sizes["Rss:"]


def timed(arguments: Sequence[object], environment: dict[str, str]) -> tuple[float, float, float]:
    """Run `tagnn-fast`: seconds, the most megabytes of all its processes together, and of the largest."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tagnn_fast.cli", *map(str, arguments)]
    together, largest = 0.0, 0.0
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            sizes = [_megabytes(one) for one in descendants(process.pid)]
            together, largest = max(together, sum(pss for pss, _ in sizes)), max(largest, *(rss for _, rss in sizes))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, together, largest


def digest(folder: Path) -> str:
    """Of the names and bytes of a folder's tables."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("part-*.parquet")):
        whole.update(path.name.encode())
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def ways(engines: Sequence[str], workers: int, one_thread: bool) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, options and environment of each way to score."""
    for engine in engines:
        if engine == "local":
            yield "local", [], {"OMP_NUM_THREADS": str(workers)}
            if one_thread:
                yield "local, 1 thread", [], {"OMP_NUM_THREADS": "1"}
        else:
            yield engine, ["--engine", engine, "--master", f"local[{workers}]"], {"OMP_NUM_THREADS": "1"}


def main(
    folder: Annotated[
        Path, typer.Argument(help="To make, for sessions and tables: 2 GB for a million and all engines.")
    ],
    sessions: Annotated[int, typer.Option()] = 1_000_000,
    items: Annotated[int, typer.Option()] = ITEMS,
    engine: Annotated[list[str], typer.Option()] = ["local", "spark", "ray"],  # noqa: B006
    workers: Annotated[int, typer.Option(help="Of Spark and Ray, and threads of local.")] = 2,
    one_thread: Annotated[bool, typer.Option(help="Local by one thread, too.")] = True,
) -> None:
    """Time every engine on the same sessions."""
    folder.mkdir(parents=True)
    run = write_run(folder, items)
    single, whole = write_sessions(folder / "one.parquet", 1), write_sessions(folder / "all.parquet", sessions)
    figures: dict[str, dict[str, object]] = {}
    digests: dict[str, str] = {}
    for name, options, environment in ways(engine, workers, one_thread):
        output = folder / name.replace(", ", "-").replace(" ", "-")
        start, _, _ = timed(["recommend", run, "--input", single, "--output", f"{output}-one", *options], environment)
        seconds, together, largest = timed(
            ["recommend", run, "--input", whole, "--output", output, *options], environment
        )
        assert load_json(output / "_summary.json")["sessions"] == sessions
        digests[name] = digest(output)
        figures[name] = {
            "seconds": round(seconds, 1),
            "of these before the second session": round(start, 1),
            "sessions/s": round(sessions / seconds),
            "sessions/s after the start": round(sessions / max(seconds - start, 1e-9)),
            "MB together": round(together),
            "MB of the largest": round(largest),
        }
    alone = figures.get("local, 1 thread", {}).get("sessions/s after the start")
    if isinstance(alone, int):
        for name in set(figures) & {"spark", "ray"}:
            rate = figures[name]["sessions/s after the start"]
            assert isinstance(rate, int)
            figures[name]["of so many processes without an engine, %"] = round(100 * rate / (workers * alone))
    print(json.dumps({"sessions": sessions, "items": items, "workers": workers, **figures}, indent=1))
    different = [(one, other) for one, other in pairwise(digests) if digests[one] != digests[other]]
    if different:
        raise SystemExit(f"expected the same tables of all engines, got others: {different}")
    print(f"tables identical to the byte: {', '.join(digests)}")


if __name__ == "__main__":
    typer.run(main)
