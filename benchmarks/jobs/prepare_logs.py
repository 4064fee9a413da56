"""A log of Yoochoose's size to a data set, and what the published way takes for a part of it.

    python -m benchmarks.jobs.prepare_logs FOLDER [--sessions 9200000] [--part 500000] [--engine duckdb]

makes FOLDER/clicks.dat (33 million clicks, 53,000 items, the columns of Yoochoose), runs `tagnn-fast prepare logs` on
it in a process of its own, and the published way, row by row in Python, on the sessions of its first part.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import typer

from benchmarks.peers.preprocessing import published_preprocessing

MEAN_CLICKS = 3.57
ITEMS = 53_000
DAYS = 183
BLOCK = 200_000  # sessions that are made at once


def write_log(path: Path, sessions: int, seed: int = 0) -> int:
    """Sessions of clicks minutes apart, on items popular by a power law; the number of clicks."""
    generator = np.random.default_rng(seed)
    items = generator.permutation(ITEMS) + 214_500_000
    popular = (1 / np.arange(1, ITEMS + 1) ** 0.9).cumsum()
    start = int(np.datetime64("2014-04-01T03:00:00", "ms").astype(np.int64))
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    clicks = 0
    with path.open("wb") as file:
        for first in range(0, sessions, BLOCK):
            count = min(BLOCK, sessions - first)
            lengths = generator.geometric(1 / MEAN_CLICKS, count)
            total = int(lengths.sum())
            begin = start + generator.integers(0, DAYS * 86_400_000, count)
            since = generator.exponential(90_000, total).astype(np.int64).cumsum()
            since -= since[lengths.cumsum() - lengths].repeat(lengths)
            text = pa.array(begin.repeat(lengths) + since).cast(pa.timestamp("ms")).cast(pa.string())
            table = {
                "session": np.arange(first + 1, first + count + 1).repeat(lengths),
                "time": pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", ""),
                "item": items[np.searchsorted(popular, generator.random(total) * popular[-1])],
                "category": generator.integers(0, 13, total),
            }
            pa.csv.write_csv(pa.table(table), file, options)
            clicks += total
    return clicks


def main(
    folder: Annotated[Path, typer.Argument(help="For the log and the data set; about 3 GB.")],
    sessions: Annotated[int, typer.Option()] = 9_200_000,
    part: Annotated[int, typer.Option(help="Rows that the published way gets.")] = 2_000_000,
    engine: Annotated[str, typer.Option()] = "duckdb",
) -> None:
    """Time both."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "clicks.dat"
    clicks = write_log(log, sessions)
    command = [
        "prepare",
        "logs",
        str(log),
        str(folder / "data"),
        "--format",
        "yoochoose",
        "--force",
        "--engine",
        engine,
    ]
    if not (folder / "data").exists():
        command.remove("--force")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tagnn_fast.cli", *command], check=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6

    first = folder / "part.dat"
    with log.open() as whole, first.open("w") as file:
        file.writelines(islice(whole, part))
    began = time.perf_counter()
    published_preprocessing(first)
    by_rows = time.perf_counter() - began
    rows = min(part, clicks)
    figures = {
        "clicks": clicks,
        "seconds": round(seconds, 1),
        "clicks per second": round(clicks / seconds),
        "peak GB": round(peak, 2),
        "published way, clicks": rows,
        "published way, clicks per second": round(rows / by_rows),
        "times as fast": round(clicks / seconds / (rows / by_rows), 1),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
