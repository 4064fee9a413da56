"""Damaged and foreign files: a line that says what is wrong, or what the files say; never a traceback."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.cli.commands import run, succeed
from tests.cli.test_stopped import COLUMNS, write_log
from tests.mutated import mutate

# Each test takes so long; the seed is the clock's then.
SECONDS = float(os.environ.get("TAGNN_FAST_FUZZ_SECONDS", 0))
ROUNDS = 8


def try_changes(names: list[str], original: Path, copy: Path, use: Callable[[Path], object]) -> None:
    """Change one of the files at a time, in a copy of the folder, and use it."""
    seed = time.time_ns() if SECONDS else 1
    generator, end, outcomes = random.Random(seed), time.monotonic() + SECONDS, Counter[str]()
    found: dict[str, str] = {}
    number = 0
    while time.monotonic() < end if SECONDS else number < ROUNDS:
        name = names[number % len(names)]
        number += 1
        shutil.copytree(original, copy)
        mutate(copy / name, generator)
        content = (copy / name).read_bytes()
        try:
            outcomes[f"{name}: {use(copy)}"] += 1
        except Exception as error:  # all that are found are told, the first of each kind
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = place and (place.tb_frame.f_code.co_filename, place.tb_lineno)
            found.setdefault(f"{type(error).__name__} at {where}", f"{str(error)[:800]}: {name}: {content[:3000]!r}")
        shutil.rmtree(copy)
    print(number, "changes:", dict(outcomes))
    assert not found, "\n\n".join(f"{kind}: {text}" for kind, text in found.items())


def outcome_of(*arguments: object) -> str:
    """What a command came to: done, or refused in a line."""
    outcome = run(*arguments)
    assert "Traceback" not in outcome.stderr
    if outcome.returncode == 1:
        assert outcome.stderr.startswith("error: "), outcome
        assert outcome.stderr.count("\n") == 1, outcome
        return "refused"
    assert outcome.returncode == 0, outcome
    return "done"


def newest(folder: Path) -> Path:
    (checkpoint,) = (folder / "checkpoints").iterdir()
    return checkpoint.relative_to(folder)


def test_data_set(data: Path, tmp_path: Path) -> None:
    names = ["dataset.json", "train.parquet", "items.parquet", "dataset.json", "test.parquet"]
    try_changes(names, data, tmp_path / "data", lambda folder: outcome_of("info", folder))


def test_data_set_of_logs(tmp_path: Path) -> None:
    """Described, and updated."""
    log, later = write_log(tmp_path / "log.csv", 0, 4), write_log(tmp_path / "later.csv", 4, 1)
    succeed("prepare", "logs", log, tmp_path / "original", *COLUMNS)
    names = ["dataset.json", "clicks.parquet", "dataset.json", "raw_test.parquet", "dataset.json"]

    def use(folder: Path) -> str:
        described = outcome_of("info", folder)
        for name in ("session_lengths.png", "item_popularity.png"):
            (folder / name).unlink(missing_ok=True)
        return f"{described}/{outcome_of('prepare', 'update', folder, later)}"

    try_changes(names, tmp_path / "original", tmp_path / "data", use)


def test_run(trained: Path, tmp_path: Path) -> None:
    """Gone on with, described, and asked."""
    checkpoint = newest(trained)
    names = ["config.json", "test_reads.jsonl", "items.parquet", "model.safetensors", "history.json", "result.json"]
    names += [str(checkpoint / name) for name in ("state.json", "optimizer.safetensors", "random.safetensors")]

    def use(folder: Path) -> str:
        results = {outcome_of("train", "--resume", folder), outcome_of("info", folder)}
        return "/".join(sorted({*results, outcome_of("recommend", folder, "1")}))

    try_changes(names, trained, tmp_path / "run", use)
