"""The field's pickles: what they say is what is read, and damage, foreign values and code are refused."""

from __future__ import annotations

import hashlib
import pickle
import random
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Dataset, PrefixExamples, Sessions, exchange, read_exchange
from tests.support import shared

TRAIN = [[30, 10, 30, 20], [20, 700], [10, 10]]
TEST = ([[10, 30, 99, 20], [10, 30, 99], [10, 30], [10], [99]], [700, 20, 99, 30, 99])
Examples = list[tuple[list[int], int]]


def all_examples(sessions: list[list[int]]) -> Examples:
    """Every proper prefix with the click that follows, in the order of the field's files."""
    return [(session[:end], session[end]) for session in sessions for end in range(len(session) - 1, 0, -1)]


def as_value(examples: Examples) -> tuple[list[list[int]], list[int]]:
    return [prefix for prefix, _ in examples], [target for _, target in examples]


def write(folder: Path, train: object, test: object = TEST, name: str = "all_train_seq.txt", protocol: int = 2) -> Path:
    """A folder of exchange files; bytes are written as they are."""
    for file, value in ((name, train), ("test.txt", test)):
        (folder / file).write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return folder


def raw_sessions(dataset: Dataset, sessions: Sessions) -> list[list[int]]:
    """Sessions in raw ids; 0 for an item without a row."""
    ids = [0, *dataset.vocabulary.raw_ids.to_pylist()]
    return [[ids[item] for item in part.tolist()] for part in sessions.clicks.split(sessions.offsets.diff().tolist())]


def raw_examples(dataset: Dataset, sessions: Sessions) -> Examples:
    examples = PrefixExamples(sessions)
    items, offsets, targets = examples.cut(torch.arange(len(examples)))
    ids = [0, *dataset.vocabulary.raw_ids.to_pylist()]
    prefixes = [[ids[item] for item in part.tolist()] for part in items.split(offsets.diff().tolist())]
    return list(zip(prefixes, (ids[target] for target in targets.tolist()), strict=True))


@contextmanager
def limited_memory(extra: int = 2**30) -> Iterator[None]:
    """At most so much memory more than now: a damaged file may ask for any amount."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


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


@pytest.mark.parametrize("missing", ["all_train_seq.txt", "test.txt"])
def test_missing_file(tmp_path: Path, missing: str) -> None:
    (write(tmp_path, TRAIN) / missing).unlink()
    with pytest.raises(FileNotFoundError) as error:
        read_exchange(tmp_path)
    path = tmp_path / missing.replace("all_train_seq", "train")
    assert str(error.value) == f"{path}: expected all_train_seq.txt or train.txt, and test.txt, in this folder"


@pytest.mark.parametrize("protocol", [0, 4])
@pytest.mark.parametrize("file", ["all_train_seq.txt", "test.txt"])
def test_every_truncation(tmp_path: Path, file: str, protocol: int) -> None:
    path = write(tmp_path, TRAIN, protocol=protocol) / file
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError) as error:
            read_exchange(tmp_path)
        assert str(error.value).startswith(f"{path}: expected a pickle of lists of integers, got ")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_damaged_bytes(tmp_path: Path, protocol: int) -> None:
    """A few wrong bytes give other sessions or a ValueError, and nothing else."""
    path = write(tmp_path, [*TRAIN, [300, 70_000, 2**40]], protocol=protocol) / "all_train_seq.txt"
    content = path.read_bytes()
    generator = random.Random(protocol)
    messages = []
    with limited_memory():
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(generator.choice((1, 1, 4))):
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
            path.write_bytes(damaged)
            try:
                read_exchange(tmp_path)
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > 15
    assert all(message.startswith(f"{path}: expected ") for message in messages)


def test_memory_of_a_damaged_file(tmp_path: Path) -> None:
    """A wrong memo index in a file of a few bytes does not cost hundreds of megabytes."""
    write(tmp_path, b"\x80\x02]r" + (2**24).to_bytes(4, "little") + b"(](K\x01K\x02ee")
    tracemalloc.start()
    try:
        with limited_memory(), pytest.raises(ValueError):
            read_exchange(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def shared_lists(clicks: int, sessions: int) -> bytes:
    """One list of so many clicks, named by so many sessions in two bytes each."""
    return b"\x80\x02](](" + b"K\x07" * clicks + b"eq\x05" + b"h\x05" * (sessions - 1) + b"e."


BOMBS = {
    "persistent id, whose error has two lines": b"\x80\x02]Px\na.",
    "references": shared_lists(3000, 3000),
    "prefixes": b"\x80\x02" + shared_lists(3000, 3000)[2:-1] + b"](" + b"K\x07" * 3000 + b"e\x86.",
    "hash of nested tuples": b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"K\x01s.",
    "set of nested tuples": b"\x80\x04\x8f(" + b")" + b"\x85" * 300_000 + b"\x90.",
    "nested tuples": b"\x80\x02)" + b"\x85" * 300_000 + b".",
    "nested lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "long integer": b"\x80\x02]\x8b" + (2**21).to_bytes(4, "little") + b"\x7f" * 2**21 + b"a.",
    "long text of an integer": b"(I" + b"9" * 2**21 + b"\nl.",
    "list in itself": b"\x80\x02]q\x00h\x00a.",
    "length of a text that is not there": b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"a.",
    "long integer that is not there": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"a.",
}


@pytest.mark.parametrize("file", ["all_train_seq.txt", "train.txt"])
@pytest.mark.parametrize("name", BOMBS)
def test_small_file_that_asks_for_much(name: str, file: str, tmp_path: Path) -> None:
    """Its memory is that of a file of its size, and it ends nothing but itself."""
    write(tmp_path, BOMBS[name], name=file)
    with limited_memory(), pytest.raises(ValueError) as error:
        read_exchange(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / file}: expected ")
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_sessions_named_twice(tmp_path: Path) -> None:
    """Lists that occur more than once are named again; that alone is no reason to refuse them."""
    dataset = read_exchange(write(tmp_path, TRAIN * 2))
    assert raw_sessions(dataset, dataset.train) == TRAIN * 2


def test_errors_without_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(unpickler: object) -> object:
        raise MemoryError

    monkeypatch.setattr(exchange._ListUnpickler, "load", load)
    with pytest.raises(ValueError) as error:
        read_exchange(write(tmp_path, TRAIN))
    expected = f"{tmp_path / 'all_train_seq.txt'}: expected a pickle of lists of integers, got MemoryError"
    assert str(error.value) == expected


class Code:
    """Pickles to a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("file", ["all_train_seq.txt", "train.txt", "test.txt"])
def test_code_is_not_run(tmp_path: Path, file: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps([[1, 2], [3, Code(marker)]], protocol)
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    write(tmp_path, TRAIN)
    if file == "train.txt":
        (tmp_path / "all_train_seq.txt").unlink()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_exchange(tmp_path)
    module = "builtins" if protocol >= 3 else "__builtin__"
    expected = f"{tmp_path / file}: expected a pickle of lists of integers, got it asks for {module}.exec, "
    assert str(error.value) == expected + "which is not run"
    assert not marker.exists()


DEEP = b"\x80\x02]}K\x01" + b"]" * 100_000 + b"a" * 99_999 + b"sa."


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({1: [2]}, "expected a pickle of lists of integers, got a dictionary or a set"),
        (7, "expected a list, got int"),
        ([[1, 2.0]], "expected integer item ids, got float"),
        ([["1", 2]], "expected integer item ids, got str"),
        ([[1, True]], "expected integer item ids, got bool"),
        ([[1, None], [2, "x"]], "expected integer item ids, got NoneType, str"),
        ([[1, [2]]], "expected integer item ids, got list"),
        ([[1, {}]], "expected a pickle of lists of integers, got a dictionary or a set"),
        ([[1, 2], {1: 2}], "expected a pickle of lists of integers, got a dictionary or a set"),
        ([[1, 2], []], "expected lists of at least one click, got [] at session 1"),
        ([[1, 2], "12"], "expected lists of at least one click, got '12' at session 1"),
        ([1, 2], "expected lists of at least one click, got 1 at session 0"),
        ([[1, 0]], "expected item ids of 1 and more, got 0"),
        ([[-5, 1]], "expected item ids of 1 and more, got -5"),
        ([[1, 2**63]], "expected item ids below 2^63, got a larger one"),
        ([[1, -(2**70)]], "expected "),
        ([[np.int64(1), 2]], "expected a pickle of lists of integers, got it asks for numpy"),
        ([np.array([1, 2])], "expected a pickle of lists of integers, got it asks for numpy"),
        (DEEP, "expected a pickle of lists of integers, got a dictionary or a set"),
        (pickle.dumps([10**5000, [1]]), "expected lists of at least one click, got int at session 0"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_whole_session_errors(tmp_path: Path, train: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read_exchange(write(tmp_path, train))
    assert str(error.value).startswith(f"{tmp_path / 'all_train_seq.txt'}: {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected (prefixes, targets) of the same length"),
        ([[[1]]], "expected (prefixes, targets) of the same length"),
        (([[1]], [2], [3]), "expected (prefixes, targets) of the same length"),
        (([[1]], [2, 3]), "expected (prefixes, targets) of the same length"),
        (([[1]], {1: 2}), "expected a pickle of lists of integers, got a dictionary or a set"),
        ((1, 2), "expected (prefixes, targets) of the same length"),
        (([[1], []], [2, 3]), "expected a prefix of one click or more, got [] at example 1"),
        (([1], [2]), "expected a prefix of one click or more, got 1 at example 0"),
        (([[1]], ["2"]), "expected integer item ids, got str"),
        (([[1]], [[2]]), "expected integer item ids, got list"),
        (([[1, 2], [1.0]], [3, 2]), "expected integer item ids, got float"),
        (([[1, 2], [1]], [3, 2.0]), "expected integer item ids, got float"),
        (([[2, 1], [2]], [3, True]), "expected integer item ids, got bool"),
        (([[1]], [0]), "expected item ids of 1 and more, got 0"),
        (([[1]], [2**63]), "expected item ids below 2^63, got a larger one"),
    ],
    ids=lambda value: str(value)[:50],
)
@pytest.mark.parametrize("file", ["train.txt", "test.txt"])
def test_example_errors(tmp_path: Path, file: str, value: object, message: str) -> None:
    if file == "train.txt":
        write(tmp_path, value, name=file)
    else:
        write(tmp_path, TRAIN, value)
    with pytest.raises(ValueError) as error:
        read_exchange(tmp_path)
    assert str(error.value) == f"{tmp_path / file}: {message}"


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
