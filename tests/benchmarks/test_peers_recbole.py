"""What can be checked of RecBole's side without RecBole: that it learns from our examples, and the arithmetic."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.peers.recbole import fastest, table_lines
from benchmarks.peers.recbole_models import ITEM, LENGTH, MOST_CLICKS, PREFIX, SETTINGS, fields, item_size
from benchmarks.peers.recbole_models import padded_prefixes as padded
from benchmarks.peers.recbole_rows import Task, Timed, epoch_seconds, row, steps_to_time
from tagnn_fast.data import PrefixExamples, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.data.examples import ExampleBatch


def sessions(clicks: list[list[int]]) -> Sessions:
    lengths = torch.tensor([0, *map(len, clicks)])
    flat = torch.tensor([item for session in clicks for item in session], dtype=torch.int32)
    return Sessions(flat, lengths.cumsum(0), (lengths[1:] - 1).clamp(min=0))


def test_examples_are_ours() -> None:
    """Every proper prefix of every session, cut to its last clicks, with the click that follows."""
    clicks = [[5, 2, 9, 2], [7, 7], list(range(1, MOST_CLICKS + 5)), [4]]
    made = fields(PrefixExamples(sessions(clicks)))
    found = [
        (prefix[:length], target)
        for prefix, length, target in zip(
            made[PREFIX].tolist(), made[LENGTH].tolist(), made[ITEM].tolist(), strict=True
        )
    ]
    expected = [
        (session[max(0, end - MOST_CLICKS) : end], session[end])
        for session in clicks
        for end in range(len(session) - 1, 0, -1)
    ]
    assert found == expected
    assert made[PREFIX].dtype == made[LENGTH].dtype == made[ITEM].dtype == torch.int64
    places = torch.arange(MOST_CLICKS).expand_as(made[PREFIX])
    assert bool(((made[PREFIX] == 0) == (places >= made[LENGTH].unsqueeze(1))).all())


def test_examples_of_a_data_set_are_ours() -> None:
    train = synthetic_dataset(clicks=3000, items=50).train
    made, examples = fields(PrefixExamples(train)), PrefixExamples(train)
    batch = examples.cut(torch.arange(len(examples)))
    for number, (begin, end) in enumerate(pairwise(batch.offsets.tolist())):
        prefix = made[PREFIX][number, : made[LENGTH][number]].tolist()
        assert prefix == batch.items[begin:end][-MOST_CLICKS:].tolist()
    assert torch.equal(made[ITEM], batch.targets.long())


def test_unknown_clicks_are_left_out() -> None:
    items, offsets = torch.tensor([0, 3, 0, 4, 0, 0, 1, 2, 3]), torch.tensor([0, 5, 6, 9])
    prefixes, lengths = padded(ExampleBatch(items, offsets, torch.tensor([1, 1, 1])), most_clicks=2)
    assert prefixes.tolist() == [[3, 4], [0, 0], [2, 3]]
    assert lengths.tolist() == [2, 0, 2]
    nothing = padded(ExampleBatch(items[:0], offsets[:1], items[:0]), most_clicks=2)
    assert nothing[0].shape == (0, 2)


def test_steps_and_epochs() -> None:
    assert steps_to_time(100_000, 100, 0.02) == 22  # 20 after 2 that do not count
    assert steps_to_time(100_000, 100, 0.0001) == 7
    assert steps_to_time(350, 100, 1.0) == 4  # all there are
    assert epoch_seconds([1.0, 3.0, 2.0], 1050, 100) == pytest.approx(21.0)


def test_steps_are_timed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's seconds hold the making of its batch and what is done with it."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)

    def batches() -> object:
        nonlocal now
        for number in range(4):
            now += 10
            yield number

    timed = Timed(batches(), 3)  # type: ignore[arg-type]
    for number in timed:
        now += number
    assert timed.seconds == [10, 11, 12]


def test_table() -> None:
    timed = {"steps_timed": 7, "fraction_timed": 0.0199, "step_seconds": {"median": 1.236, "least": 1.1, "most": 2.0}}
    common = {"hidden_size": 64, "batch_size": 2048, "peak_megabytes": 1200, **timed}
    rows = [
        {**common, "model": "SRGNN", "epoch_seconds": 1234.5},
        {**common, "model": "GRU4Rec", "epoch_seconds": 100.0, "test": {"HR@20": 70.456, "MRR@20": 30.0}},
        {**common, "model": "sr_gnn", "epoch_seconds": 25.0},
    ]
    assert fastest(rows)["model"] == "GRU4Rec"
    assert table_lines(rows)[0].endswith("epoch against GRU4Rec's |")
    assert table_lines(rows)[2:] == [
        "| RecBole SRGNN | 64 | 2048 | 1,234 s | 1.24 s (1.10) | 7 steps, 2.0% | 1,200 MB | not trained | 12.35 |",
        "| RecBole GRU4Rec | 64 | 2048 | 100 s |  | whole epochs | 1,200 MB | 70.46 / 30.00 | 1.00 |",
        "| tagnn_fast sr_gnn | 64 | 2048 | 25 s | 1.24 s (1.10) | 7 steps, 2.0% | 1,200 MB | not trained | 0.25 |",
    ]


def test_settings_have_item_sizes() -> None:
    assert {model: item_size(model) for model in SETTINGS} == {
        "SRGNN": 64,
        "GCSAN": 64,
        "CORE": 100,
        "GRU4Rec": 64,
        "SASRec": 64,
    }


@pytest.mark.parametrize("epochs", [0, 2])
def test_rows_of_ours(tmp_path: Path, epochs: int) -> None:
    write_dataset(synthetic_dataset(clicks=2000, items=60), tmp_path / "data")
    task = Task(str(tmp_path / "data"), "sr_gnn", 8, 100, torch.get_num_threads(), 0.1, epochs)
    figures = json.loads(json.dumps(row(task)))
    assert figures["epoch_seconds"] > 0
    assert figures["peak_megabytes"] >= figures["megabytes_before"] > 0
    if epochs:
        best = figures["history"][figures["chosen_epoch"] - 1]["validation"]["MRR@20"]
        assert best == max(record["validation"]["MRR@20"] for record in figures["history"])
        assert figures["test"].keys() == figures["history"][0]["validation"].keys()
    else:
        assert figures["steps_timed"] == 5
