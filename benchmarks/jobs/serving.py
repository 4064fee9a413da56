"""Answering one session and many: every exported format, in Python and in C++, beside the bare top-k kernel.

    python -m benchmarks.jobs.serving REPORT_FOLDER --programs build/cpp

exports models of random weights (latency does not depend on them) with 43,097 and 1,000,000 items, hidden size 100, and
writes two tables (table.md) and the figures (figures.json), over sessions of 4 clicks, k = 20. One session at a time:
median and 99th percentile, and the time to load. Sessions that came together, 1 to 512 in a call: how many a second are
answered if nine calls in ten are to be in time, the size of a batch by the 90th percentile of its time. onnxruntime
gets as many as leave it 10 million scores at once. Each variant runs in a process of its own. The programs are made for
lists of 20.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Optional

import numpy as np
import pyarrow as pa
import torch
import typer
from torch import Tensor

import tagnn_fast
from benchmarks.timing import in_own_process
from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset
from tagnn_fast.ops import target_attention_topk
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import create_run, open_run
from tagnn_fast.serving.export import export as export_run
from tagnn_fast.training.recipes import resolve

CLICKS, K = 4, 20
BATCH_SIZES = [2**power for power in range(10)]  # sessions that one call answers
FEWEST_CALLS = 10  # of each size, however long they take
KERNEL = "top-k kernel alone"
FORMATS = ["torchscript", "program", "compiled", "onnx"]
ONNX_SCORES = 10_000_000  # of all sessions of a call at most: onnxruntime keeps them, and more, in memory
PROGRAMS = {"serve": "torchscript", "serve_compiled": "compiled"}


def export(items: int, folder: Path, hidden_size: int = 100, scale: float = 1.0) -> Path:
    """A run of random weights, exported; weights times `scale` for another model."""
    made = synthetic_dataset(clicks=5000, items=300)
    vocabulary = Vocabulary(pa.array(np.arange(1, items + 1) * 7), np.ones(items, np.int64))
    dataset = Dataset("random", made.train, made.test, vocabulary)
    model, training = resolve("clean", {"hidden_size": hidden_size}, items, 10)
    run = create_run(folder / "run", model, training, dataset, folder)
    run.keep_model({name: scale * value for name, value in make_model(model, training).state_dict().items()}, 1)
    export_run(run, folder / "exported", k_max=K, formats=FORMATS)
    return folder


def percentiles(times: list[float]) -> dict[str, float]:
    return {f"p{share}_ms": 1e3 * float(np.quantile(times, share / 100)) for share in (50, 90, 99)}


def timed_calls(calls: list[Callable[[], object]], seconds: float) -> dict[str, float]:
    """Percentiles of the time that a call takes, one after the other for so long."""
    start = time.perf_counter()
    for call in calls[:20]:
        call()
        if time.perf_counter() > start + seconds:
            break
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < FEWEST_CALLS:
        call = calls[len(times) % len(calls)]
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {**percentiles(times), "answers": len(times)}


def measure(folder: Path, what: str, seconds: float) -> dict[str, Any]:
    """One variant in Python, in this process: the time to load, and percentiles by batch size."""
    run = open_run(folder / "run")
    start = time.perf_counter()
    if what == "kernel":
        call = kernel_alone(run.recommender())
    else:
        call = onnx(folder / "exported") if what == "onnx" else exported(folder / "exported", what)
    load = time.perf_counter() - start
    items = len(run.vocabulary)
    sizes = [size for size in BATCH_SIZES if what != "onnx" or size * items <= ONNX_SCORES]
    return {"load_seconds": load, "by_size": {size: timed_batches(call, items, size, seconds) for size in sizes}}


@torch.inference_mode()  # not what is loaded: item vectors made in it would have no screen
def timed_batches(
    call: Callable[[Tensor, Tensor], Callable[[], object]], items: int, size: int, seconds: float
) -> dict[str, float]:
    """Percentiles of a call with so many sessions."""
    generator, offsets = torch.Generator().manual_seed(size), CLICKS * torch.arange(size + 1)
    batches = [torch.randint(1, items, (CLICKS * size,), generator=generator) for _ in range(max(1, 64 // size))]
    return timed_calls([call(clicks, offsets) for clicks in batches], seconds)


def kernel_alone(recommender: Recommender) -> Callable[[Tensor, Tensor], Callable[[], object]]:
    """Lists of sessions that are encoded beforehand, through the screen that recommenders keep."""
    model, ranker = recommender.model, recommender.ranker
    table, screen = ranker.table(), ranker.screen if ranker.is_screened else None

    def call(items: Tensor, offsets: Tensor) -> Callable[[], object]:
        encoded = model.encode(items, offsets)
        return lambda: target_attention_topk(encoded, table, K, screen=screen)

    return call


def exported(folder: Path, format: str) -> Callable[[Tensor, Tensor], Callable[[], object]]:
    """Raw ids to raw ids."""
    served = tagnn_fast.load(folder, format)
    return lambda items, offsets: lambda: served(7 * items, offsets, K)


def onnx(folder: Path) -> Callable[[Tensor, Tensor], Callable[[], object]]:
    """The same by onnxruntime, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)

    def call(items: Tensor, offsets: Tensor) -> Callable[[], object]:
        given = {"items": (7 * items).numpy(), "offsets": offsets.numpy()}
        return lambda: session.run(None, given)

    return call


def measure_program(program: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """The same of a C++ program."""
    command = [str(program), str(folder), "--benchmark", str(seconds), "--clicks", str(CLICKS), "--k", str(K)]
    found = {size: in_own_process([*command, "--sessions", str(size)]) for size in BATCH_SIZES}
    return {"load_seconds": found[1]["load_seconds"], "by_size": found}


def measure_all(folder: Path, programs: Path | None, seconds: float) -> dict[str, dict[str, Any]]:
    python = [sys.executable, "-W", "ignore", "-m", "benchmarks.jobs.serving", "--seconds", str(seconds), "--measure"]
    rows = {KERNEL: in_own_process([*python, f"{folder}:kernel"])}
    for format in FORMATS:
        rows[f"Python, {format}"] = in_own_process([*python, f"{folder}:{format}"])
    for program, format in PROGRAMS.items() if programs is not None else ():
        rows[f"C++, {format}"] = measure_program(programs / program, folder / "exported", seconds)
    for row in rows.values():  # sizes are texts in JSON
        row["by_size"] = {int(size): times for size, times in row["by_size"].items()}
        for size, times in row["by_size"].items():
            times["sessions_a_second"] = 1e3 * size / times["p90_ms"]
    return rows


def one_session_lines(figures: dict[int, dict[str, dict[str, Any]]]) -> list[str]:
    lines = ["| items | variant | p50 | p99 | load |", "|---|---|---|---|---|"]
    for items, rows in figures.items():
        for variant, row in rows.items():
            times, load = row["by_size"][1], "" if variant == KERNEL else f"{row['load_seconds']:.2f} s"
            lines.append(f"| {items:,} | {variant} | {times['p50_ms']:.2f} ms | {times['p99_ms']:.2f} ms | {load} |")
    return lines


def batch_lines(figures: dict[int, dict[str, dict[str, Any]]]) -> list[str]:
    sizes = " | ".join(str(size) for size in BATCH_SIZES)
    lines = ["Sessions a second, at the 90th percentile of the time of a call, by sessions in a call:", ""]
    lines += [f"| items | variant | {sizes} |", "|---|---|" + "---|" * len(BATCH_SIZES)]
    for items, rows in figures.items():
        for variant, row in rows.items():
            times = [row["by_size"].get(size) for size in BATCH_SIZES]
            rates = " | ".join(f"{measured['sessions_a_second']:,.0f}" if measured else "" for measured in times)
            lines.append(f"| {items:,} | {variant} | {rates} |")
    return lines


def main(
    report: Annotated[Optional[Path], typer.Argument(help="Folder to write to.")] = None,
    programs: Annotated[Optional[Path], typer.Option(help="Folder of the built C++ examples.")] = None,
    seconds: Annotated[float, typer.Option(help="For each variant and number of sessions.")] = 3.0,
    measure_one: Annotated[Optional[str], typer.Option("--measure", hidden=True)] = None,
) -> None:
    """Measure everything and write a report."""
    if measure_one is not None:
        folder, what = measure_one.rsplit(":", 1)
        print(json.dumps(measure(Path(folder), what, seconds)))
        return
    if report is None:
        raise typer.BadParameter("expected a folder", param_hint="REPORT")
    figures = {}
    for items in (43_097, 1_000_000):
        with TemporaryDirectory() as folder:
            figures[items] = measure_all(export(items, Path(folder)), programs, seconds)
    lines = ["# Serving", "", *one_session_lines(figures), "", *batch_lines(figures)]
    report.mkdir(parents=True, exist_ok=True)
    (report / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (report / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
