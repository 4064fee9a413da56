"""Whether training once more on all sessions pays: held-out beside held-out-refit, inside the training sessions.

    python -m benchmarks.jobs.protocols DATASET --sessions 60000

The last tenth of the training sessions stands for the test set, which is not read; the protocols run on those before.
Both come from one run: the weights that the held-out sessions chose are scored before it goes on with all sessions.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Optional

import typer

import tagnn_fast
from tagnn_fast.data import PrefixExamples, read_dataset
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.observer import Observer
from tagnn_fast.training.protocols import first_held_out

SHOWN = ("HR@20", "MRR@20", "NDCG@20")


class HeldOut(Observer):
    """Prints epochs, and scores what the held-out sessions chose before the training on all of them begins."""

    def __init__(self, folder: Path, examples: PrefixExamples) -> None:
        self.folder, self.examples = folder, examples
        self.figures: dict[str, float] = {}

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        if what == "epoch 1 on all sessions":
            self.figures = figures(self.folder, self.examples)

    def end_epoch(self, record: dict[str, Any]) -> None:
        print(json.dumps(record), flush=True)


def figures(folder: Path, examples: PrefixExamples) -> dict[str, float]:
    found = score_model(tagnn_fast.open_run(folder).recommender(), examples)
    return {name: round(found[name], 2) for name in SHOWN}


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    sessions: Annotated[Optional[int], typer.Option(help="The last so many training sessions; all if none.")] = None,
    architecture: Annotated[str, typer.Option()] = "sr_gnn",
    hidden_size: Annotated[int, typer.Option()] = 32,
    batch_size: Annotated[int, typer.Option()] = 256,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train by both protocols and print their figures on the last tenth."""
    data = read_dataset(dataset, test=False)
    every = data.train.slice(max(0, len(data.train) - sessions) if sessions else 0, len(data.train))
    first = first_held_out(every)
    scored = PrefixExamples(every.slice(first, len(every)))
    with TemporaryDirectory() as folder:
        held_out = HeldOut(Path(folder) / "run", scored)
        run = tagnn_fast.fit(
            replace(data, train=every.slice(0, first)),
            held_out.folder,
            protocol="held-out-refit",
            architecture=architecture,
            hidden_size=hidden_size,
            batch_size=batch_size,
            seed=seed,
            observer=held_out,
        )
        print(f"{data.name}: {first:,} sessions, epoch {run.result and run.result['epoch']}; scored {len(scored):,}")
        print(f"held-out       {held_out.figures}")
        print(f"held-out-refit {figures(run.folder, scored)}")


if __name__ == "__main__":
    typer.run(main)
