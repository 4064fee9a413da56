"""A picture of how a run went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Training loss and, where there are any, validation HR@20 and MRR@20 by epoch, as PNG."""
    epochs = [record["epoch"] for record in history]
    validated = [name for name in ("HR@20", "MRR@20") if name in history[-1].get("validation", {})]
    panels = ["training loss", *(f"validation {name}, %" for name in validated)]
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for index, title in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        name = title.split()[1].rstrip(",")
        values = [record["training_loss"] if index == 0 else record["validation"][name] for record in history]
        axes.plot(epochs, values, marker="o")
        axes.set(title=title, xlabel="epoch", xticks=epochs)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
