"""The field's pickles: what they say is what is read."""

from __future__ import annotations

import hashlib
import pickle
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Dataset, read_exchange
from tests.data.exchange_files import (
    TRAIN,
    Examples,
    all_examples,
    as_value,
    raw_examples,
    raw_sessions,
    write,
)
from tests.support import shared


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_read(tmp_path: Path, protocol: int) -> None:
    dataset = read_exchange(write(tmp_path, TRAIN, protocol=protocol), "mine")
    assert dataset.name == "mine"
    assert dataset.vocabulary.raw_ids.to_pylist() == [10, 20, 30, 700]
    assert dataset.vocabulary.counts.tolist() == [3, 2, 2, 1]
    assert raw_sessions(dataset, dataset.train) == TRAIN
    assert dataset.train.examples.tolist() == [3, 1, 1]
    assert raw_sessions(dataset, dataset.test) == [[10, 30, 0, 20, 700], [0, 0]]
    assert dataset.test.examples.tolist() == [4, 1]


def test_source(tmp_path: Path) -> None:
    """The name is the folder's, the source tells one file from another."""
    dataset = read_exchange(write(tmp_path, TRAIN))
    assert dataset.name == tmp_path.name
    files = [tmp_path / "all_train_seq.txt", tmp_path / "test.txt"]
    assert dataset.source == {
        "kind": "exchange",
        "files": [
            {
                "name": file.name,
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in files
        ],
    }


def test_tuples_and_single_clicks(tmp_path: Path) -> None:
    """Tuples do for lists; a session of one click is kept and has no example."""
    dataset = read_exchange(write(tmp_path, ((30, 10), (30,)), test=[((10,),), (30,)]))
    assert raw_sessions(dataset, dataset.train) == [[30, 10], [30]]
    assert dataset.train.examples.tolist() == [1, 0]
    assert raw_examples(dataset, dataset.test) == [([10], 30)]


def test_largest_id(tmp_path: Path) -> None:
    dataset = read_exchange(write(tmp_path, [[2**63 - 1, 1]]))
    assert dataset.vocabulary.raw_ids.to_pylist() == [1, 2**63 - 1]


def test_whole_sessions_come_first(tmp_path: Path) -> None:
    """Where both files are, all_train_seq.txt is read."""
    write(tmp_path, as_value(all_examples([[1, 2]])), name="train.txt")
    assert len(read_exchange(write(tmp_path, TRAIN)).train) == 3


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=5), min_size=1, max_size=6))
def test_complete_prefix_lists(sessions: list[list[int]]) -> None:
    """train.txt with every proper prefix gives the sessions of all_train_seq.txt."""
    with TemporaryDirectory() as folder:
        whole = read_exchange(write(Path(folder), sessions))
        (Path(folder) / "all_train_seq.txt").unlink()
        put_together = read_exchange(write(Path(folder), as_value(all_examples(sessions)), name="train.txt"))
    assert raw_sessions(put_together, put_together.train) == raw_sessions(whole, whole.train) == sessions
    assert torch.equal(put_together.train.examples, whole.train.examples)
    assert put_together.vocabulary.equals(whole.vocabulary)
    assert put_together.vocabulary.counts.tolist() == whole.vocabulary.counts.tolist()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 3)), min_size=1, max_size=12)
)
def test_any_examples(examples: Examples) -> None:
    """Whatever the prefixes, the examples are those of the file, in its order."""
    with TemporaryDirectory() as folder:
        dataset = read_exchange(write(Path(folder), as_value(examples), as_value(examples), name="train.txt"))
    assert raw_examples(dataset, dataset.train) == examples
    assert raw_examples(dataset, dataset.test) == examples


def test_incomplete_prefix_lists(tmp_path: Path) -> None:
    """Leave-one-out, and a list that breaks off: whole sessions, of which only the listed clicks are targets."""
    leave_one_out = ([[1, 2, 3], [4], [1, 2]], [4, 2, 3])
    dataset = read_exchange(write(tmp_path, leave_one_out, name="train.txt"))
    assert raw_sessions(dataset, dataset.train) == [[1, 2, 3, 4], [4, 2], [1, 2, 3]]
    assert dataset.train.examples.tolist() == [1, 1, 1]
    breaks_off = ([[1, 2, 3], [1, 2], [4]], [4, 3, 2])
    dataset = read_exchange(write(tmp_path, breaks_off, name="train.txt"))
    assert raw_sessions(dataset, dataset.train) == [[1, 2, 3, 4], [4, 2]]
    assert dataset.train.examples.tolist() == [2, 1]


def test_targets_without_a_row(tmp_path: Path) -> None:
    """Items that do not occur in training are item 0, and their examples stay."""
    dataset = read_exchange(write(tmp_path, TRAIN))
    statistics = dataset.statistics()["test"]
    assert raw_examples(dataset, dataset.test)[2:] == [([10, 30], 0), ([10], 30), ([0], 0)]
    assert (statistics["examples"], statistics["targets_without_a_row"]) == (5, 2)
    assert statistics["clicks_without_a_row"] == 3


def test_sessions_named_twice(tmp_path: Path) -> None:
    """Lists that occur more than once are named again; that alone is no reason to refuse them."""
    dataset = read_exchange(write(tmp_path, TRAIN * 2))
    assert raw_sessions(dataset, dataset.train) == TRAIN * 2


@cache
def real_dataset(name: str) -> Dataset:
    return read_exchange(shared(f"data/{name}"))


@pytest.mark.parametrize(
    ("name", "sessions", "examples", "items", "test_examples", "without_a_row"),
    [
        ("diginetica", 186_670, 719_470, 43_097, 60_858, 0),
        ("yoochoose1_64", 116_167, 369_859, 17_376, 55_898, 412),
    ],
)
def test_published_counts(
    name: str, sessions: int, examples: int, items: int, test_examples: int, without_a_row: int
) -> None:
    dataset = real_dataset(name)
    statistics = dataset.statistics()
    assert dataset.name == name
    assert statistics["items"] == {"count": items}
    assert (statistics["train"]["sessions"], statistics["train"]["examples"]) == (sessions, examples)
    assert statistics["train"]["targets_without_a_row"] == statistics["train"]["clicks_without_a_row"] == 0
    assert statistics["test"]["examples"] == test_examples
    assert statistics["test"]["targets_without_a_row"] == without_a_row
    assert int(dataset.vocabulary.counts.sum()) == statistics["train"]["clicks"]


def test_published_test_examples() -> None:
    """The examples are those of the file, in its order."""
    name = "yoochoose1_64"
    dataset = real_dataset(name)
    known = set(dataset.vocabulary.raw_ids.to_pylist())
    prefixes, targets = pickle.loads(shared(f"data/{name}/test.txt").read_bytes())
    expected = [
        ([item if item in known else 0 for item in prefix], target if target in known else 0)
        for prefix, target in zip(prefixes, targets, strict=True)
    ]
    assert raw_examples(dataset, dataset.test) == expected


def test_truncated_diginetica(tmp_path: Path) -> None:
    content = shared("data/diginetica/all_train_seq.txt").read_bytes()
    for length in (0, 1, 1_000_000, len(content) - 1):
        with pytest.raises(ValueError, match="expected a pickle of lists of integers, got "):
            read_exchange(write(tmp_path, content[:length]))
