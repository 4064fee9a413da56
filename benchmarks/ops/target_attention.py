"""Target attention, native against plain PyTorch and the published formulation: speed and memory, one process each.

    python -m benchmarks.ops.target_attention REPORT_FOLDER [--run RUN]

writes a table (table.md), the figures (figures.json) and a plot (per_session.png). RUN is a trained run on Diginetica;
without one, trained weights are left out. Figures are per session, each variant at the largest batch that fits. "high"
and "medium" are precisions of products. The share is that of the bound that limits a kernel: its arithmetic at the rate
of a 2048 x 2048 product in that precision, or reading the item table once with all threads.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer
from torch import Tensor

from benchmarks.inputs import ITEMS, PADDED_LENGTH, sample_batch
from benchmarks.peers.published import padded_positions, padded_target_attention
from benchmarks.timing import in_own_process, machine_rates, timed
from tagnn_fast import ops
from tagnn_fast.ops import encoded_sessions, reference, session_graph
from tagnn_fast.runs.run import open_run

HIDDEN = 100
TASKS = ["training step", "scores", "top 20"]
PRECISIONS = {"native, high": "high", "native, medium": "medium"}  # others are of float32
VARIANTS = ["native", *PRECISIONS, "native, published semantics", "plain", "plain, all kept", "compiled", "published"]
# Bytes that a session takes, as multiples of items; from what a batch of 50 takes.
BYTES_PER_ITEM = {"plain, all kept": 180, "compiled": 180, "published": 2200}
MEMORY = 12e9


@dataclass(frozen=True)
class Case:
    """What one process measures."""

    variant: str
    task: str
    sessions: int
    items: int
    run: str | None = None  # trained weights instead of random ones


class Inputs:
    """Encoded sessions, the item table, and targets."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        batch = sample_batch(case.sessions)
        padded_length = PADDED_LENGTH if case.variant in ("native, published semantics", "published") else None
        self.offsets, self.graph = batch.offsets, session_graph(*batch, padded_length)
        if case.run is None:
            rows = self.graph.node_items.shape[0]
            values = [0.3 * torch.randn(size, HIDDEN) for size in (case.sessions, rows, rows, case.items)]
            *encoded, self.table = values
            self.encoded = encoded_sessions(*encoded, self.graph)
        else:
            model = open_run(case.run).recommender().model
            with torch.no_grad():
                encoded = model.encode(*batch)
                if padded_length is not None:  # a node more in each session; its state does not matter
                    rows = [torch.zeros(self.graph.node_items.shape[0], HIDDEN) for _ in range(2)]
                    slots = self.graph.click_nodes, session_graph(*batch).click_nodes
                    for row, value in zip(rows, (encoded.keys, encoded.values), strict=True):
                        row[slots[0]] = value[slots[1]]
                    encoded = encoded_sessions(encoded.session, *rows, self.graph)
            self.encoded, self.table = encoded, model.item_embedding.weight[1:].detach().clone()
        self.targets = torch.randint(0, self.table.shape[0], (case.sessions,))

    def leaves(self) -> list[Tensor]:
        """What a training step gives gradients to."""
        return [value.requires_grad_() for value in (*self.encoded[:3], self.table)]

    def node_rows(self, padding: bool) -> tuple[int, int]:
        """Rows of the nominal count, 2U + 1 a session, and those that the native kernel computes."""
        nodes = torch.bincount(
            reference.owners(self.encoded.slot_offsets, self.encoded.click_counts.shape[0])[
                self.encoded.click_counts > 0
            ]
        )
        nominal = int((2 * nodes + 1).sum())
        return nominal, nominal if padding else nominal - 2 * nodes.numel()


def published_scores(inputs: Inputs) -> Tensor:
    positions = [
        padded_positions(rows, inputs.graph.click_nodes, inputs.offsets, PADDED_LENGTH)
        for rows in (inputs.encoded.keys, inputs.encoded.values)
    ]
    return padded_target_attention(inputs.encoded.session, *positions, inputs.table)


def all_scores(variant: str, inputs: Inputs) -> Callable[[], Tensor]:
    """A call that gives all scores."""
    if variant == "published":
        return lambda: published_scores(inputs)
    if variant.startswith("native"):
        return lambda: ops.target_attention_scores(inputs.encoded, inputs.table)
    if variant == "plain":
        return lambda: reference.target_attention_scores(inputs.encoded, inputs.table)
    function = torch.compile(reference._scores, dynamic=False) if variant == "compiled" else reference._scores
    return lambda: function(inputs.encoded, inputs.table, False)


def make_call(case: Case, inputs: Inputs) -> Callable[[], object]:
    """What is timed."""
    scores = all_scores(case.variant, inputs)
    chunked = case.variant.startswith("native") or case.variant == "plain"
    implementation = reference if case.variant == "plain" else ops
    if case.task == "scores":
        return torch.no_grad()(scores)
    if case.task == "top 20":
        if chunked:
            return lambda: implementation.target_attention_topk(inputs.encoded, inputs.table, 20)
        return torch.no_grad()(lambda: scores().topk(20))
    leaves = inputs.leaves()

    def loss() -> Tensor:
        if chunked:
            return implementation.target_attention_cross_entropy(inputs.encoded, inputs.table, inputs.targets).mean()
        return torch.nn.functional.cross_entropy(scores(), inputs.targets)

    return lambda: torch.autograd.grad(loss(), leaves)


def status_megabytes(name: str) -> float:
    """A line of this process's status, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def resident_megabytes() -> float:
    """Memory in use, with what is free given back; the peak is counted from here on."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status_megabytes("VmRSS")


def measure(case: Case) -> dict[str, float]:
    """Seconds per session, extra peak memory, and the arithmetic of a case."""
    inputs = Inputs(case)
    torch.set_float32_matmul_precision(PRECISIONS.get(case.variant, "highest"))
    call = make_call(case, inputs)
    call()  # threads start, code is loaded
    before = resident_megabytes()
    if case.task == "training step":
        before += sum(leaf.numel() * 4 for leaf in inputs.leaves()) / 2**20  # their gradients
    call()
    megabytes = max(0.0, status_megabytes("VmHWM") - before)
    seconds = timed(call)
    nominal, rows = inputs.node_rows(case.variant not in ("native", *PRECISIONS))
    flop = (4 if case.task == "training step" else 1) * 2 * HIDDEN * inputs.table.shape[0]
    return {
        "seconds": seconds,
        "megabytes": megabytes,
        "flop": rows * flop,
        "nominal_flop": nominal * flop,
        "read_table": timed(inputs.table.detach().sum, 0.5),
    }


def cases(run: Path | None) -> list[Case]:
    chosen = []
    for task in TASKS:
        for items in (ITEMS, 1_000_000):
            for sessions in (1, 50, 512):
                for variant in VARIANTS:
                    if variant.startswith("native"):
                        most = sessions
                    elif variant == "plain":
                        most = 512 if items == ITEMS else 50  # a step of 512 sessions takes minutes
                    else:
                        most = max(1, int(MEMORY / (BYTES_PER_ITEM[variant] * items)))
                    chosen.append(Case(variant, task, min(sessions, most), items))
        if run is not None:
            for variant in ("native", *PRECISIONS, "native, published semantics", "plain", "published"):
                most = int(MEMORY / (BYTES_PER_ITEM.get(variant, 1) * ITEMS))
                chosen.append(Case(variant, task, min(512, most), ITEMS, str(run)))
    return list(dict.fromkeys(chosen))


def figures_of(case: Case) -> dict[str, float] | None:
    """What a process of its own measures; None if it fails, out of memory mostly."""
    command = [sys.executable, "-m", "benchmarks.ops.target_attention", "--case", json.dumps(asdict(case))]
    try:
        return in_own_process(command)
    except subprocess.CalledProcessError:
        return None


def main(
    report: Annotated[Optional[Path], typer.Argument(help="Folder to write to.")] = None,
    run: Annotated[Optional[Path], typer.Option(help="Run trained on Diginetica with hidden size 100.")] = None,
    case: Annotated[Optional[str], typer.Option(hidden=True)] = None,
) -> None:
    """Measure everything and write a report."""
    if case is not None:
        print(json.dumps(measure(Case(**json.loads(case)))))
        return
    if report is None:
        raise typer.BadParameter("expected a folder", param_hint="REPORT")
    from benchmarks.ops.target_attention_report import write_report

    rows = []
    best = machine_rates()
    for chosen in cases(run):
        figures = figures_of(chosen)
        rows.append({**asdict(chosen), **(figures or {}), "failed": figures is None})
        print(json.dumps(rows[-1]), flush=True)
    write_report(report, rows, best)


if __name__ == "__main__":
    typer.run(main)
