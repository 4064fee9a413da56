"""Exchange files as the field writes them, and what they say."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tagnn_fast.data import Dataset, PrefixExamples, Sessions

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
