"""Logs that users had trouble with: what comes out, recomputed in plain Python."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from tagnn_fast.data import Dataset, read_dataset
from tests.cli.commands import run
from tests.support import shared

ALL = ("--minimum-support", 1, "--minimum-length", 1, "--test", "1s")


def sessions_of(dataset: Dataset) -> list[list[str]]:
    """Training sessions by raw ids, then those of the test set."""
    ids = ["", *map(str, dataset.vocabulary.raw_ids.to_pylist())]
    assert dataset.raw_test is not None
    clicks, offsets = dataset.train.clicks.tolist(), dataset.train.offsets.tolist()
    train = [[ids[item] for item in clicks[begin:end]] for begin, end in pairwise(offsets)]
    return train + [[str(item) for item in session] for session in dataset.raw_test.to_pylist()]


def test_original_header_of_diginetica(tmp_path: Path) -> None:
    logs, datasets = shared("field_cases/digi-header"), []
    for name in ("train-item-views.csv", "ok.csv"):
        outcome = run("prepare", "logs", logs / name, tmp_path / name, "--format", "diginetica", *ALL)
        assert outcome.returncode == 0, outcome.stderr
        datasets.append(read_dataset(tmp_path / name))
    with (logs / "train-item-views.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    expected: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        expected[row["sessionId"]].append((int(row["timeframe"]), row["itemId"]))
    whole = sorted([item for _, item in sorted(clicks, key=lambda click: click[0])] for clicks in expected.values())
    assert [sorted(sessions_of(dataset)) for dataset in datasets] == [whole, whole]
    assert datasets[0].fingerprint() == datasets[1].fingerprint()


def test_lists_of_items_are_baskets(tmp_path: Path) -> None:
    log = shared("field_cases/parquet-list-items/baskets.parquet")
    columns = ("--user-column", "user", "--item-column", "items", "--time-column", "time", "--time-unit", "seconds")
    outcome = run("prepare", "logs", log, tmp_path / "d", *columns, *ALL)
    assert outcome.returncode == 0, outcome.stderr
    dataset = read_dataset(tmp_path / "d")
    assert dataset.vocabulary.integers
    sessions: list[list[str]] = []
    last: dict[int, int] = {}
    of_user: dict[int, list[str]] = {}
    rows = sorted(pq.read_table(log).to_pylist(), key=lambda row: row["time"])
    for row in rows:
        user, time = row["user"], row["time"]
        if user not in last or time - last[user] > 30 * 60:
            of_user[user] = []
            sessions.append(of_user[user])
        of_user[user] += map(str, row["items"])
        last[user] = time
    assert Counter(map(tuple, sessions_of(dataset))) == Counter(map(tuple, sessions))
    assert dataset.source["steps"][0]["clicks"] == sum(len(row["items"]) for row in rows)


def test_negative_number_of_bad_rows(tmp_path: Path) -> None:
    log = shared("field_cases/max-bad-rows-minus-one/yoo.dat")
    outcome = run("prepare", "logs", log, tmp_path / "d", "--format", "yoochoose", "--max-bad-rows", -1)
    assert outcome.returncode != 0
    assert "Traceback" not in outcome.stderr
    assert "--max-bad-rows" in outcome.stderr
