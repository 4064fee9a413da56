"""Sessions that the benchmarks run on, and what of them ops get."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.data import Dataset, PrefixExamples, read_exchange, synthetic_dataset
from tagnn_fast.ops.graph import EncodedSessions, SessionGraph
from tests.support import SHARED

PADDED_LENGTH = 69  # longest prefix of Diginetica's training split
ITEMS = 43097  # its items


@cache
def diginetica() -> Dataset:
    """Diginetica; without the data, a synthetic data set of its size."""
    folder = SHARED / "data" / "diginetica"
    return read_exchange(folder) if folder.exists() else synthetic_dataset(clicks=900_000, items=ITEMS)


@cache
def training_examples() -> PrefixExamples:
    """Its training prefixes."""
    return PrefixExamples(diginetica().train)


def sample_prefixes(count: int, seed: int = 0) -> list[list[int]]:
    """Prefixes drawn uniformly from all training examples."""
    batch = sample_batch(count, seed)
    return [part.tolist() for part in batch.items.tensor_split(batch.offsets[1:-1])]


def sample_batch(count: int, seed: int = 0) -> SessionBatch:
    """The same prefixes as a batch."""
    chosen = np.random.default_rng([count, seed]).choice(len(training_examples()), count)
    items, offsets, _ = training_examples().cut(torch.from_numpy(chosen))
    return SessionBatch(items, offsets)


def sample_model(sessions: int) -> tuple[TAGNNPP, SessionGraph, Tensor]:
    """A new model, and the graphs and item vectors of so many prefixes."""
    torch.manual_seed(0)
    model = TAGNNPP(ModelConfig(ITEMS))
    graph = model.graph(*sample_batch(sessions), None)
    return model, graph, model.item_embedding(graph.node_items)


def with_floats(encoded: EncodedSessions, session: Tensor, keys: Tensor, values: Tensor) -> EncodedSessions:
    """The same sessions with other vectors."""
    return encoded._replace(session=session, keys=keys, values=values)
