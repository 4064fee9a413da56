"""From clicks to an exported model, from Python alone: the first lines of the README, on a small log."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas
import polars
import pyarrow as pa
import pytest

import tagnn_fast
from tagnn_fast.data import Dataset, read_dataset
from tests.cli.commands import looks_at_test_set, succeed

COLUMNS = {"session": "session_id", "item": "item_id", "time": "timestamp"}
BLOCK = """
import tagnn_fast

data = tagnn_fast.read_dataset("data/diginetica")
data = tagnn_fast.prepare(frame, session="session_id", item="item_id", time="timestamp")
run = tagnn_fast.fit(data, "runs/diginetica", preset="clean", hidden_size=100, epochs=5)
print(run.history, run.result)
print(tagnn_fast.evaluate(run))
recommender = tagnn_fast.open_run("runs/diginetica").recommender()
answer = recommender.recommend([["A", "B", "A"]], k=20)
tagnn_fast.export(run, "exported")
"""


def clicks() -> dict[str, list[Any]]:
    """Sessions of one to six clicks over two days, some of them without an item, in no order."""
    random = Random(0)
    rows = [
        (
            session,
            None if random.random() < 0.02 else random.choice("ABCDEFGH"),
            datetime(2024, 5, 1) + timedelta(minutes=40 * session + click, microseconds=random.randrange(10**6)),
        )
        for session in range(80)
        for click in range(random.randrange(1, 7))
    ]
    random.shuffle(rows)
    return {name: list(column) for name, column in zip(COLUMNS.values(), zip(*rows, strict=True), strict=True)}


def write_csv(folder: Path) -> Path:
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS.values())
        writer.writerows(zip(*clicks().values(), strict=True))
    return folder / "log.csv"


FRAMES: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda folder: pandas.DataFrame(clicks()),
    "polars": lambda folder: polars.DataFrame(clicks()),
    "arrow table": lambda folder: pa.table(clicks()),
    "arrow batches": lambda folder: pa.table(clicks()).to_reader(max_chunksize=50),
    "csv": write_csv,
    "pattern": lambda folder: f"{write_csv(folder).parent}/*.csv",
}


def described(dataset: Dataset) -> dict[str, Any]:
    """All that must be alike, wherever the rows were."""
    assert dataset.raw_test is not None
    return {
        "fingerprint": dataset.fingerprint(),
        "raw ids": dataset.vocabulary.raw_ids.to_pylist(),
        "counts": dataset.vocabulary.counts.tolist(),
        "raw test": dataset.raw_test.to_pylist(),
        "steps": dataset.source["steps"],
        "bad rows": {reason: found["count"] for reason, found in dataset.source["bad_rows"].items()},
        "clicks": dataset.clicks and dataset.clicks.sha256,
    }


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    columns = [argument for name, column in COLUMNS.items() for argument in (f"--{name}", column)]
    succeed("prepare", "logs", write_csv(folder), folder / "data", *columns, "--max-bad-rows", 20)
    return folder / "data"


@pytest.mark.parametrize("kind", FRAMES)
def test_the_same_data_set(kind: str, by_command: Path, tmp_path: Path) -> None:
    observer = tagnn_fast.Observer()
    data = tagnn_fast.prepare(FRAMES[kind](tmp_path), **COLUMNS, max_bad_rows=20, observer=observer)
    assert described(data) == described(read_dataset(by_command))
    assert sum(described(data)["bad rows"].values()) > 0
    assert data.folder is None


def test_the_block(by_command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """As it stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "diginetica").symlink_to(by_command)
    names: dict[str, Any] = {"frame": pandas.DataFrame(clicks()).dropna()}
    exec(BLOCK, names)
    printed = capsys.readouterr().out
    for part in ("epoch 1: training loss", "training, by epoch", "in percent", "tagnn_pp", "sequential rules"):
        assert part in printed
    result, history = names["run"].result, names["run"].history
    assert history[-1]["epoch"] == result["refit"]["epochs"] == result["epoch"]
    assert result["test"].keys() == history[0]["validation"].keys()
    assert [look["reader"] for look in looks_at_test_set(tmp_path / "runs" / "diginetica")] == ["train", "evaluate"]
    assert sorted(names["answer"].items[0]) == list("ABCDEFGH")
    tagnn_fast.load("exported")


def test_names() -> None:
    """All that the front door promises is there, and nothing that is slow or optional before it is used."""
    for name in tagnn_fast.__all__:
        assert getattr(tagnn_fast, name) is not None
        assert name in dir(tagnn_fast)
    with pytest.raises(AttributeError, match="module 'tagnn_fast' has no attribute 'train'"):
        _ = tagnn_fast.train
    slow = ("duckdb", "ibis", "lightning_fabric", "matplotlib", "pandas", "pyarrow", "rich", "tensorboard", "typer")
    code = f"import sys, tagnn_fast; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
