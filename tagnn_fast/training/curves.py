"""A picture of how a run went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tagnn_fast.files import replaced_file


def plot_curves(history: list[dict[str, Any]], validation_name: str, path: Path) -> None:
    """Training loss and, where something was scored after each epoch, its HR@20 and MRR@20, as PNG."""
    epochs = [record["epoch"] for record in history]
    panels = [("training loss", [record["training_loss"] for record in history])]
    for metric in ("HR@20", "MRR@20"):
        if metric in history[-1].get("validation", {}):
            values = [record["validation"][metric] for record in history]
            panels.append((f"{validation_name} {metric}, %", values))
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for number, (title, values) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        axes.plot(epochs, values, marker="o")
        axes.set(title=title, xlabel="epoch", xticks=epochs)
        axes.grid(alpha=0.3)
    with replaced_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
