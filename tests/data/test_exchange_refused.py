"""The field's pickles: damage, foreign values and code are refused, in a line that names the file."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tagnn_fast.data import exchange, read_exchange
from tests.data.exchange_files import TRAIN, limited_memory, write
from tests.mutated import refusals, wrong_bytes


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
    contents = [wrong_bytes(content, generator) for _ in range(60)]
    with limited_memory():
        messages = refusals(path, contents, lambda: read_exchange(tmp_path))
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
