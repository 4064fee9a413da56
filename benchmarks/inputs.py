"""Sessions that the benchmarks run on."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np

from support import SHARED
from tagnn_fast import SessionBatch

PADDED_LENGTH = 69  # longest prefix of Diginetica's training split
ITEMS = 43097  # its items


class ListUnpickler(pickle.Unpickler):
    """Reads lists, tuples and numbers; refuses everything that would need a class or a function."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"expected lists of integers, got {module}.{name}")


@cache
def training_sessions() -> list[np.ndarray]:
    """Diginetica's training sessions; without the data, random ones of the same lengths on average."""
    path = SHARED / "data" / "diginetica" / "all_train_seq.txt"
    if path.exists():
        with path.open("rb") as file:
            return [np.array(session) for session in ListUnpickler(file).load()]
    generator = np.random.default_rng(0)
    lengths = np.minimum(1 + generator.geometric(1 / 3.85, 20000), PADDED_LENGTH + 1)
    return [generator.integers(1, ITEMS + 1, length) for length in lengths]


def sample_prefixes(count: int, seed: int = 0) -> list[list[int]]:
    """Prefixes drawn uniformly from all training examples: a session of l clicks has l - 1."""
    generator = np.random.default_rng([count, seed])
    sessions = training_sessions()
    weights = np.array([len(session) - 1 for session in sessions], dtype=np.float64)
    chosen = generator.choice(len(sessions), count, p=weights / weights.sum())
    return [sessions[index][: generator.integers(1, len(sessions[index]))].tolist() for index in chosen]


def sample_batch(count: int, seed: int = 0) -> SessionBatch:
    """The same prefixes as a batch."""
    return SessionBatch.from_lists(sample_prefixes(count, seed))
