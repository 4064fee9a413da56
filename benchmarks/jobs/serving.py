"""Answering one session at a time: every exported format, in Python and in C++, beside the bare top-k kernel.

    python -m benchmarks.jobs.serving REPORT_FOLDER --programs build/cpp

exports models of random weights (latency does not depend on them) with 43,097 and 1,000,000 items, hidden size 100, and
writes a table (table.md) and the figures (figures.json): median and 99th percentile over sessions of 4 clicks, k = 20,
and the time to load. Each variant runs in a process of its own. The .pt2 programs are made for lists of 20.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Optional

import numpy as np
import pyarrow as pa
import torch
import typer

import tagnn_fast
from benchmarks.timing import in_own_process
from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset
from tagnn_fast.ops import target_attention_topk
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import create_run, open_run
from tagnn_fast.serving.export import export as export_run
from tagnn_fast.training.recipes import resolve

CLICKS, K, SECONDS = 4, 20, 5.0
FORMATS = ["torchscript", "program", "compiled"]
PROGRAMS = {"serve": "torchscript", "serve_compiled": "compiled"}


def export(items: int, folder: Path) -> Path:
    """A run of random weights, exported."""
    made = synthetic_dataset(clicks=5000, items=300)
    vocabulary = Vocabulary(pa.array(np.arange(1, items + 1) * 7), np.ones(items, np.int64))
    dataset = Dataset("random", made.train, made.test, vocabulary)
    model, training = resolve("clean", {"hidden_size": 100}, items, 10)
    run = create_run(folder / "run", model, training, dataset, folder)
    run.keep_model(make_model(model, training).state_dict(), 1)
    export_run(run, folder / "exported", k_max=K)
    return folder


def percentiles(times: list[float]) -> dict[str, float]:
    return {"p50_ms": 1e3 * float(np.median(times)), "p99_ms": 1e3 * float(np.quantile(times, 0.99))}


@torch.inference_mode()
def measure(folder: Path, what: str) -> dict[str, float]:
    """One variant in Python, in this process."""
    start = time.perf_counter()
    offsets = torch.tensor([0, CLICKS])
    run = open_run(folder / "run")
    if what == "kernel":
        model = run.recommender().model
    else:
        start = time.perf_counter()
        served = tagnn_fast.load(folder / "exported", what)
    load = time.perf_counter() - start
    generator = torch.Generator().manual_seed(0)
    sessions = [torch.randint(1, len(run.vocabulary), (CLICKS,), generator=generator) for _ in range(64)]
    if what == "kernel":
        encoded = [model.encode(items, offsets) for items in sessions]
        calls = [lambda e=e: target_attention_topk(e, model.item_embedding.weight[1:], K) for e in encoded]
    else:
        calls = [lambda items=items: served(7 * items, offsets, K) for items in sessions]
    for call in calls[:20]:
        call()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        call = calls[len(times) % len(calls)]
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {**percentiles(times), "load_seconds": load, "answers": len(times)}


def measure_all(folder: Path, programs: Path | None) -> dict[str, dict[str, float]]:
    python = [sys.executable, "-W", "ignore", "-m", "benchmarks.jobs.serving", "--measure"]
    rows = {"top-k kernel alone": in_own_process([*python, f"{folder}:kernel"])}
    for format in FORMATS:
        rows[f"Python, {format}"] = in_own_process([*python, f"{folder}:{format}"])
    for program, format in PROGRAMS.items() if programs is not None else ():
        command = [str(programs / program), str(folder / "exported"), "--benchmark", str(SECONDS)]
        rows[f"C++, {format}"] = in_own_process([*command, "--clicks", str(CLICKS), "--k", str(K)])
    return rows


def main(
    report: Annotated[Optional[Path], typer.Argument(help="Folder to write to.")] = None,
    programs: Annotated[Optional[Path], typer.Option(help="Folder of the built C++ examples.")] = None,
    measure_one: Annotated[Optional[str], typer.Option("--measure", hidden=True)] = None,
) -> None:
    """Measure everything and write a report."""
    if measure_one is not None:
        folder, what = measure_one.rsplit(":", 1)
        print(json.dumps(measure(Path(folder), what)))
        return
    if report is None:
        raise typer.BadParameter("expected a folder", param_hint="REPORT")
    figures = {}
    for items in (43_097, 1_000_000):
        with TemporaryDirectory() as folder:
            figures[items] = measure_all(export(items, Path(folder)), programs)
    lines = ["| items | variant | p50 | p99 | load |", "|---|---|---|---|---|"]
    for items, rows in figures.items():
        for variant, row in rows.items():
            load = "" if variant == "top-k kernel alone" else f"{row['load_seconds']:.2f} s"
            lines.append(f"| {items:,} | {variant} | {row['p50_ms']:.2f} ms | {row['p99_ms']:.2f} ms | {load} |")
    report.mkdir(parents=True, exist_ok=True)
    (report / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (report / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
