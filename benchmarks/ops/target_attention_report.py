"""Table and plot of target_attention.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import tagnn_fast

Row = Mapping[str, Any]


def bound(row: Row, machine: Mapping[str, float]) -> float:
    """Seconds that no kernel can beat: its arithmetic in its precision, or reading the table once."""
    rate = machine["gemm"]
    if row["variant"] == "native, medium":
        rate = max(rate, machine["bfloat16_gemm"])
    elif row["variant"] == "native, high":
        rate = max(rate, machine["bfloat16_gemm"] / 3)
    return float(max(row["flop"] / rate, row["read_table"]))


def table_lines(rows: Sequence[Row], machine: Mapping[str, float]) -> list[str]:
    lines = [
        "| task | items | weights | sessions | variant | per session | extra memory | GFLOP/s | nominal | share |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        weights = "trained" if row["run"] else "random"
        start = f"| {row['task']} | {row['items']:,} | {weights} | {row['sessions']} | {row['variant']} |"
        if row["failed"]:
            lines.append(f"{start} failed | | | | |")
            continue
        seconds = row["seconds"]
        native = row["variant"].startswith("native")
        rate, nominal = (row[name] / seconds / 1e9 for name in ("flop", "nominal_flop"))
        share = f"{bound(row, machine) / seconds:.0%}" if native else ""
        lines.append(
            f"{start} {seconds / row['sessions'] * 1e3:.3f} ms | {row['megabytes']:,.0f} MB | "
            f"{f'{rate:.0f}' if native else ''} | {nominal:.0f} | {share} |"
        )
    return lines


def plot(rows: Sequence[Row], path: Path) -> None:
    """Time per session of every variant, by task and items."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    counts = sorted({row["items"] for row in rows})
    figure, axes = plt.subplots(len(counts), len(tasks), figsize=(4 * len(tasks), 3.2 * len(counts)), squeeze=False)
    for line, items in enumerate(counts):
        for column, task in enumerate(tasks):
            axis = axes[line][column]
            chosen = [row for row in rows if (row["items"], row["task"], row["run"]) == (items, task, None)]
            for variant in dict.fromkeys(row["variant"] for row in chosen):
                points = [row for row in chosen if row["variant"] == variant and not row["failed"]]
                sessions = [row["sessions"] for row in points]
                axis.loglog(
                    sessions, [1e3 * row["seconds"] / row["sessions"] for row in points], marker="o", label=variant
                )
            axis.set(title=f"{task}, {items:,} items", xlabel="sessions", ylabel="ms per session")
            axis.grid(True, which="major", alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_report(folder: Path, rows: Sequence[Row], machine: Mapping[str, float]) -> None:
    """Write table.md, figures.json and per_session.png."""
    folder.mkdir(parents=True, exist_ok=True)
    head = (
        f"{torch.get_num_threads()} threads, {tagnn_fast.cpu_capability()} kernels, PyTorch {torch.__version__}; "
        f"products of 2048 x 2048: {machine['gemm'] / 1e9:.0f} GFLOP/s in float32, "
        f"{machine['bfloat16_gemm'] / 1e9:.0f} in bfloat16; read bandwidth {machine['bandwidth'] / 1e9:.1f} GB/s."
    )
    lines = ["# Target attention", "", head, "", *table_lines(rows, machine)]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures = {"machine": dict(machine), "rows": [{**row, "run": row["run"] is not None} for row in rows]}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(rows, folder / "per_session.png")
    print("\n".join(lines))
