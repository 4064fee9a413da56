"""The field's exchange files: SR-GNN's pickled lists of item ids, or RecBole's examples."""

from __future__ import annotations

import io
import pickle
import pickletools
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tagnn_fast.checks import check_path
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.recbole import Examples, find_benchmark, read_examples
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary, are_integers
from tagnn_fast.data.whole_sessions import put_together
from tagnn_fast.files import describe_file

_WHOLE = "all_train_seq.txt"
_HASHING = ("DICT", "EMPTY_DICT", "EMPTY_SET", "FROZENSET")


# Raw ids, lengths and numbers of examples of all sessions.
_Raw = tuple[np.ndarray, np.ndarray, np.ndarray]


class _ListUnpickler(pickle.Unpickler):
    """Builds lists, tuples and numbers. Everything that could run code needs a class or a function, and gets none."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run")


def read_exchange(folder: str | Path, name: str | None = None, with_validation: bool = False) -> Dataset:
    """The data set in ``all_train_seq.txt`` (or ``train.txt``) and ``test.txt``; or in RecBole's files of examples.

    ``all_train_seq.txt`` holds whole sessions, the others ``(prefixes, targets)``; prefixes that shrink click by click
    are put together to the session they were cut from. Items are numbered in the order of their ids; those that never
    occur in training get no row.

    Where prefixes were cut to their last clicks, each of these is a session, whose clicks count again; `source` then
    says how many there seem to be, ``cut_prefixes``.

    RecBole's are ``NAME.train.inter`` and ``NAME.test.inter``, see :func:`tagnn_fast.data.recbole.read_examples`.

    Args:
        folder: with the files.
        name: of the data set; the folder's if not given.
        with_validation: whether the examples of RecBole's ``NAME.valid.inter`` are training examples too; else they
            are left out.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: on a truncated file, one that holds anything but lists, tuples and integers (no code in it is run),
            more ids than bytes (which refer to each other: a few bytes may name millions), an empty session, or ids
            below 1; on validation files that are not there.
    """
    folder = check_path(folder, "folder", "a folder of benchmark files")
    source: dict[str, Any] = {"kind": "exchange"}
    if benchmark := find_benchmark(folder):
        if "valid" in benchmark:
            source["validation"] = "added to training" if with_validation else "left out"
        elif with_validation:
            raise ValueError(f"with_validation: expected a *.valid.inter in {folder}, got none")
        paths = [path for split, path in benchmark.items() if with_validation or split != "valid"]
        train, test = _benchmark(paths)
    else:
        if with_validation:
            raise ValueError(
                "with_validation: expected files of RecBole, got pickled ones, which have no validation file"
            )
        paths = _pickles(folder)
        train = _whole_sessions(paths[0]) if paths[0].name == _WHOLE else _example_sessions(paths[0])
        test = _example_sessions(paths[1])
    if len(train[0]) == 0:
        raise ValueError(f"{paths[0]}: expected at least one training session, got none")
    if cut := _cut_prefixes(train) + _cut_prefixes(test):
        source["cut_prefixes"] = cut
    ids, counts = np.unique(train[0], return_counts=True)
    vocabulary = Vocabulary(pa.array(ids), counts)
    return Dataset(
        name=name or folder.resolve().name,
        train=_encoded(train, vocabulary),
        test=_encoded(test, vocabulary),
        vocabulary=vocabulary,
        source={**source, "files": [describe_file(path) for path in paths]},
    )


def _cut_prefixes(sessions: _Raw) -> int:
    """How many prefixes seem to be the last clicks of longer ones: each became a session of its own.

    They are as long as the longest, and have all but a click in common with the one before or behind.
    """
    ids, lengths, examples = sessions
    longest = int(lengths.max(initial=0))
    starts = np.concatenate([[0], lengths.cumsum()])[:-1]
    full = lengths == longest
    lone = full & (examples == 1)
    pairs = np.flatnonzero(full[:-1] & full[1:] & (lone[:-1] | lone[1:])) if longest > 2 else np.zeros(0, np.int64)

    def goes_on(first: int, then: int) -> bool:
        return bool((ids[first + 1 : first + longest] == ids[then : then + longest - 1]).all())

    found = [goes_on(starts[pair], starts[pair + 1]) or goes_on(starts[pair + 1], starts[pair]) for pair in pairs]
    return sum(found)


def _pickles(folder: Path) -> list[Path]:
    """Those of training and test.

    Raises:
        FileNotFoundError: where one is missing.
    """
    train_path = folder / _WHOLE
    if not train_path.exists():
        train_path = folder / "train.txt"
    test_path = folder / "test.txt"
    for path in (train_path, test_path):
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected {_WHOLE} or train.txt, and test.txt, in this folder")
    return [train_path, test_path]


def _benchmark(paths: Sequence[Path]) -> tuple[_Raw, _Raw]:
    """Sessions of training, of all files but the last, and of test; ids are integers where all of them are."""
    parts = [read_examples(path) for path in paths]
    texts = pa.array(chain.from_iterable(chain.from_iterable(sessions for sessions, _ in parts)), pa.string())
    integers = pc.all(are_integers(texts)).as_py()

    def raw(parts: Sequence[Examples]) -> _Raw:
        sessions = [session for part, _ in parts for session in part]
        clicks = pa.array(chain.from_iterable(sessions), pa.string())
        ids = clicks.cast(pa.int64()).to_numpy() if integers else clicks.to_numpy(zero_copy_only=False)
        lengths = np.fromiter(map(len, sessions), np.int64, len(sessions))
        return ids, lengths, np.fromiter((count for _, counts in parts for count in counts), np.int64, len(sessions))

    return raw(parts[:-1]), raw(parts[-1:])


def _whole_sessions(path: Path) -> _Raw:
    sessions = _load(path)
    _check_size(path, sessions)
    ids, lengths = _flatten(path, sessions)
    return ids, lengths, np.maximum(lengths - 1, 0)


def _example_sessions(path: Path) -> _Raw:
    value = _load(path)
    sizes = [len(part) if isinstance(part, (list, tuple)) else -1 for part in value]
    if len(value) != 2 or sizes[0] != sizes[1] or sizes[0] < 0:
        raise ValueError(f"{path}: expected (prefixes, targets) of the same length")
    _check_size(path, value[0])  # type: ignore[arg-type]
    sessions, examples = put_together(_checked(path, zip(*value, strict=True)))
    ids, lengths = _flatten(path, sessions)
    return ids, lengths, np.array(examples, np.int64)


def _checked(path: Path, examples: Iterable[tuple[Any, Any]]) -> Iterator[tuple[None, Sequence[int], int]]:
    for number, (prefix, target) in enumerate(examples):
        if not isinstance(prefix, (list, tuple)) or len(prefix) == 0:
            found = _short(prefix)
            raise ValueError(f"{path}: expected a prefix of one click or more, got {found} at example {number}")
        _check_integers(path, chain(prefix, (target,)))  # 1.0 and True equal 1
        yield None, prefix, target


def _load(path: Path) -> Sequence[object]:
    try:
        content = path.read_bytes()
        _check_opcodes(content)
        value = _ListUnpickler(io.BytesIO(content)).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        found = " ".join(str(error).split()) or type(error).__name__  # in one line
        raise ValueError(f"{path}: expected a pickle of lists of integers, got {found}") from None
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path}: expected a list, got {type(value).__name__}")
    return value


def _check_opcodes(content: bytes) -> None:
    """Refuse what makes the unpickler take memory out of proportion to the file, or call itself without end."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"memo index {argument} in a file of {len(content)} bytes")
        if opcode.name in _HASHING:  # hashing a tuple in a tuple in a tuple … ends the process
            raise pickle.UnpicklingError("a dictionary or a set")


def _check_size(path: Path, sessions: Iterable[object]) -> None:
    """Refuse sessions that say more than the file can: lists in it may be named again and again."""
    ids = sum(len(session) for session in sessions if isinstance(session, (list, tuple)))
    if ids > (size := path.stat().st_size):
        raise ValueError(f"{path}: expected at most as many item ids as bytes, got {ids:,} in {size:,}")


def _check_integers(path: Path, values: Iterable[object]) -> None:
    kinds = set(map(type, values)) - {int}
    if kinds:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{path}: expected integer item ids, got {names}")


def _short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits
        return type(value).__name__


def _flatten(path: Path, sessions: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.empty(len(sessions), np.int64)
    for number, session in enumerate(sessions):
        if not isinstance(session, (list, tuple)) or len(session) == 0:
            found = _short(session)
            raise ValueError(f"{path}: expected lists of at least one click, got {found} at session {number}")
        lengths[number] = len(session)
    _check_integers(path, chain.from_iterable(sessions))  # type: ignore[arg-type]
    try:
        ids = np.fromiter(chain.from_iterable(sessions), np.int64, int(lengths.sum()))  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError(f"{path}: expected item ids below 2^63, got a larger one") from None
    if ids.size and ids.min() < 1:
        raise ValueError(f"{path}: expected item ids of 1 and more, got {ids.min()}")
    return ids, lengths


def _encoded(raw: _Raw, vocabulary: Vocabulary) -> Sessions:
    ids, lengths, examples = raw
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    return Sessions(torch.from_numpy(vocabulary.encode(ids)), torch.from_numpy(offsets), torch.from_numpy(examples))
