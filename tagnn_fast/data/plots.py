"""Pictures of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.files import replaced_file


def plot_session_lengths(dataset: Dataset, path: Path) -> None:
    """Share of the sessions by clicks, of both splits, as PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, sessions in (("training", dataset.train), ("test", dataset.test)):
        if len(sessions):
            share = np.bincount(sessions.offsets.diff().numpy()) / len(sessions)
            lengths = np.flatnonzero(share)
            axes.plot(lengths, share[lengths], marker=".", label=f"{len(sessions):,} {name} sessions")
    axes.set(title=dataset.name, xlabel="clicks", ylabel="share of the sessions", xscale="log", yscale="log")
    axes.legend()
    _save(figure, path)


def plot_item_popularity(dataset: Dataset, path: Path) -> None:
    """Training clicks of each item, most clicked first, as PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    counts = np.sort(dataset.vocabulary.counts)[::-1]
    axes.plot(np.arange(1, len(counts) + 1), counts)
    title = f"{dataset.name}: {len(counts):,} items"
    axes.set(title=title, xlabel="place by clicks", ylabel="training clicks", xscale="log", yscale="log")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.axes[0].grid(alpha=0.3)
    with replaced_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
