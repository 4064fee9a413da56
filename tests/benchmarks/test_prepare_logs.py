"""The published way of preprocessing, which raw logs are timed against, is a fair peer: it makes the same examples."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from benchmarks.jobs.prepare_logs import write_log
from benchmarks.peers.preprocessing import prefixes, published_preprocessing
from tagnn_fast.data import Sessions
from tagnn_fast.logs import FORMATS
from tests.logs.running import paper_options, prepared


def examples(sessions: Sessions) -> list[tuple[list[int], int]]:
    bounds, clicks = sessions.offsets.tolist(), sessions.clicks.tolist()
    return prefixes([clicks[begin:end] for begin, end in pairwise(bounds)])


def test_published_way_makes_the_same_examples(tmp_path: Path) -> None:
    log = tmp_path / "clicks.dat"
    clicks = write_log(log, 30_000)
    assert clicks == len(log.read_text().splitlines())
    dataset = prepared(str(log), FORMATS["yoochoose"], paper_options("yoochoose"))
    train, test = published_preprocessing(log)
    assert len(train) > 1000
    assert len(test) > 10
    assert examples(dataset.train) == train
    assert examples(dataset.test) == test
