"""Writes what an earlier version leaves; see README.md. Runs with that version of the package, not with this one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from tagnn_fast.export.folder import export_run
from tagnn_fast.training.run import open_run

import tagnn_fast
from tagnn_fast.cli import main
from tagnn_fast.cli.console import ProgressObserver
from tagnn_fast.data import Dataset, Sessions, Vocabulary, write_dataset

ITEMS, K_MAX = 15, 10
OPTIONS = ["--hidden-size", "8", "--batch-size", "16", "--epochs", "2", "--accelerator", "cpu"]


def command(*arguments: object) -> None:
    with mock.patch.object(sys, "argv", ["tagnn-fast", *map(str, arguments)]):
        try:
            main()
        except SystemExit as ended:
            if ended.code not in (None, 0, 130):
                raise


def write_data(folder: Path, strings: bool) -> list[Any]:
    draw = random.Random(1)
    sessions = [[draw.randint(1, ITEMS) for _ in range(draw.randint(2, 6))] for _ in range(60)]
    counts = np.bincount([item for session in sessions[:50] for item in session], minlength=ITEMS + 1)[1:]
    ids = [f"item-{10 * item + 3}" if strings else 10 * item + 3 for item in range(1, ITEMS + 1)]
    train, test = Sessions.from_lists(sessions[:50]), Sessions.from_lists(sessions[50:])
    write_dataset(Dataset("earlier", train, test, Vocabulary(pa.array(ids), counts)), folder)
    return ids


def train_and_stop(batches: int) -> None:
    """Press Ctrl-C after so many batches, then go on in a copy, whose history is what must come out."""
    advance, left = ProgressObserver.advance, iter(range(batches - 1, -1, -1))

    def press(self: ProgressObserver, *arguments: Any) -> None:
        advance(self, *arguments)
        if next(left, None) == 0:
            signal.raise_signal(signal.SIGINT)

    with mock.patch.object(ProgressObserver, "advance", press):
        command("train", "data", "--run", "stopped", *OPTIONS)
    shutil.copytree("stopped", "resumed")
    command("train", "--resume", "resumed")
    history = json.loads(Path("resumed/history.json").read_text())
    Path("losses.json").write_text(json.dumps([record["training_loss"] for record in history]))


def answers(ids: list[Any], version: int) -> dict[str, Any]:
    """Of each format, of the run, and what it was computed by."""
    sessions = [[ids[0], ids[4], ids[0]], [ids[7]], [type(ids[0])(99), ids[3]], [], [type(ids[0])(98)]]
    found: dict[str, Any] = {"sessions": sessions, "torch": torch.__version__, "cpu": tagnn_fast.cpu_capability()}
    for format in ("torchscript", "program"):
        served = tagnn_fast.load("exported", format)
        found[format] = (
            served.recommend_strings(sessions, 5) if isinstance(ids[0], str) else served.recommend(sessions, 5)
        )
        if version > 1:
            found[f"{format}, exclude_clicked"] = served.recommend(sessions, 5, exclude_clicked=True)
        if format == "torchscript" and version > 1:
            flat, offsets = [*sessions[0], *sessions[1]], torch.tensor([0, 3, 4])
            inputs = (flat, offsets) if isinstance(ids[0], str) else (torch.tensor(flat), offsets)
            found["scores"] = served.scores(*inputs).tolist()
            targets = ids[1:3] if isinstance(ids[0], str) else torch.tensor(ids[1:3])
            found["explain"] = served.explain(*inputs, targets).tolist()
    found["run"] = open_run(Path("run")).load_recommender().recommend(sessions, 5).to_pydict()
    return found


def save_without_traces(program: torch.export.ExportedProgram, path: Path) -> None:
    """Where the source lay when it was exported is of no use to anybody."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    save(program, path)


def make(folder: Path, strings: bool, version: int) -> None:
    """All that is kept, in a folder to make."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    ids = write_data(Path("data"), strings)
    command("train", "data", "--run", "run", *OPTIONS)
    train_and_stop(6)
    with (
        mock.patch("tagnn_fast.export.folder.compile_program"),
        mock.patch("torch.export.save", save_without_traces),
    ):
        export_run(open_run(Path("run")), Path("exported"), k_max=K_MAX)
    Path("answers.json").write_text(json.dumps(answers(ids, version)))
    for name in ("resumed", "run/tensorboard", "stopped/tensorboard", "exported/triton"):
        shutil.rmtree(name)
    for name in ("run/curves.png", "exported/libtagnn_fast_ops.so"):
        Path(name).unlink()
    for name in ("run", "stopped"):  # where the data set lay
        config = Path(name) / "config.json"
        config.write_text(config.read_text().replace(str(Path("data").resolve()), "data"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    save = torch.export.save
    make(Path(sys.argv[1]), sys.argv[2] == "strings", int(sys.argv[3]))
