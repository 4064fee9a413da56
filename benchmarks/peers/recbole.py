"""RecBole 1.2.1's session models beside ours: time of an epoch and memory on the same examples, each in its process.

    python -m benchmarks.peers.recbole DATASET OUTPUT.json [--models SRGNN,GRU4Rec] [--fraction 0.02] [--threads 2]

DATASET is a folder that `tagnn-fast prepare` made; every prefix of its training sessions is an example, for RecBole as
for ours. RecBole's models have their published settings (recbole_models.py), its own loader and its own trainer; ours
have the same batch size and the item sizes of RecBole's that are run. A fraction of an epoch is timed, and the epoch is
the median step times its steps. With `--epochs N`, N epochs are trained on the first nine tenths of the sessions, one
is chosen on the last tenth, and its figures on the test sessions are by our evaluation, over all items.

It needs RecBole, which wants an environment of its own: recbole.txt says how to make it. Run it in the source tree,
with the native libraries built there (`python setup.py build_ext --inplace`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.peers.recbole_models import BATCH_SIZE, SETTINGS, item_size
from benchmarks.timing import in_own_process

OURS = ("tagnn_pp", "tagnn", "sr_gnn")
RATES = (
    "import json, sys, torch; from benchmarks.timing import machine_rates; "
    "torch.set_num_threads(int(sys.argv[1])); print(json.dumps(machine_rates(1)))"
)


def machine(threads: int) -> dict[str, float]:
    """What it does at best, and its load."""
    rates = in_own_process([sys.executable, "-c", RATES, str(threads)])
    return {**{name: rates[name] for name in ("gemm", "bandwidth")}, "load": os.getloadavg()[0]}


def fastest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row of RecBole's with the shortest epoch."""
    return min((row for row in rows if row["model"] in SETTINGS), key=lambda row: float(row["epoch_seconds"]))


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table in Markdown; the last column is an epoch against that of the fastest of RecBole's.

    Beside the median step stands the shortest, which other work on the machine delayed least.
    """
    best = fastest(rows)
    lines = [
        "| model | item size | batch | an epoch | a step (shortest) | timed | memory | HR@20 / MRR@20 | "
        f"epoch against {best['model']}'s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"RecBole {row['model']}" if row["model"] in SETTINGS else f"tagnn_fast {row['model']}"
        test = row.get("test")
        figures = f"{test['HR@20']:.2f} / {test['MRR@20']:.2f}" if test else "not trained"
        timed = "whole epochs" if test else f"{row['steps_timed']} steps, {row['fraction_timed']:.1%}"
        step = "" if test else f"{row['step_seconds']['median']:.2f} s ({row['step_seconds']['least']:.2f})"
        ratio = row["epoch_seconds"] / best["epoch_seconds"]
        lines.append(
            f"| {name} | {row['hidden_size']} | {row['batch_size']} | {row['epoch_seconds']:,.0f} s | {step} | "
            f"{timed} | {row['peak_megabytes']:,} MB | {figures} | {ratio:.2f} |"
        )
    return lines


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    output: Annotated[Path, typer.Argument(help="JSON file to write.")],
    models: Annotated[str, typer.Option(help="RecBole's models.")] = ",".join(SETTINGS),
    ours: Annotated[str, typer.Option(help="Ours.")] = ",".join(OURS),
    batch_size: Annotated[int, typer.Option(min=1)] = BATCH_SIZE,
    fraction: Annotated[float, typer.Option(help="Of an epoch to time.", min=0, max=1)] = 0.02,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    epochs: Annotated[int, typer.Option(help="Epochs to train; 0 for the time of one alone.", min=0)] = 0,
) -> None:
    """Time them all, and print a table."""
    from benchmarks.peers.recbole_rows import Task  # needs what training needs

    if find_spec("recbole") is None:
        raise typer.BadParameter("expected RecBole in this environment, see benchmarks/peers/recbole.txt, found none")
    theirs = models.split(",")
    unknown = [model for model in theirs if model not in SETTINGS]
    if unknown:
        raise typer.BadParameter(f"--models: expected some of {', '.join(SETTINGS)}, got {', '.join(unknown)}")
    chosen = [(model, item_size(model)) for model in theirs]
    chosen += [(model, size) for model in filter(None, ours.split(",")) for size in sorted({s for _, s in chosen})]
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {
        "command": f"python -m benchmarks.peers.recbole {dataset.name} {output.name} --models {models} --ours {ours} "
        f"--batch-size {batch_size} --fraction {fraction} --threads {threads} --epochs {epochs}",
        "pytorch": torch.__version__,
        "machine_before": machine(threads),
        "rows": rows,
    }
    for model, size in chosen:
        task = Task(str(dataset.resolve()), model, size, batch_size, threads, fraction, epochs)
        rows.append(in_own_process([sys.executable, "-m", "benchmarks.peers.recbole_rows", json.dumps(asdict(task))]))
        output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")  # of what is there, if it is stopped
        print(f"{model}, item size {size}: {rows[-1]['epoch_seconds']:,.0f} s an epoch", flush=True)
    figures["machine_after"] = machine(threads)
    output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table_lines(rows)))


if __name__ == "__main__":
    typer.run(main)
