"""Sessions that the benchmarks run on."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from support import SHARED
from tagnn_fast import SessionBatch
from tagnn_fast.data import PrefixExamples, read_exchange, synthetic_dataset

PADDED_LENGTH = 69  # longest prefix of Diginetica's training split
ITEMS = 43097  # its items


@cache
def training_examples() -> PrefixExamples:
    """Diginetica's training prefixes; without the data, synthetic ones."""
    folder = SHARED / "data" / "diginetica"
    dataset = read_exchange(folder) if folder.exists() else synthetic_dataset(clicks=900_000, items=ITEMS)
    return PrefixExamples(dataset.train)


def sample_prefixes(count: int, seed: int = 0) -> list[list[int]]:
    """Prefixes drawn uniformly from all training examples."""
    batch = sample_batch(count, seed)
    return [part.tolist() for part in batch.items.tensor_split(batch.offsets[1:-1])]


def sample_batch(count: int, seed: int = 0) -> SessionBatch:
    """The same prefixes as a batch."""
    chosen = np.random.default_rng([count, seed]).choice(len(training_examples()), count)
    items, offsets, _ = training_examples().cut(torch.from_numpy(chosen))
    return SessionBatch(items, offsets)
