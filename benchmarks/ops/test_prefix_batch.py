"""Batches of training examples: cut natively out of whole sessions, by its twin, and from Python lists."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import training_examples
from tagnn_fast import SessionBatch
from tagnn_fast.data.examples import shuffled
from tagnn_fast.ops import reference

BATCH = 512


def chosen() -> torch.Tensor:
    return shuffled(len(training_examples()), seed=0, epoch=0)[:BATCH]


def test_native(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"batch of {BATCH} examples"
    benchmark(training_examples().cut, chosen())


def test_reference(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"batch of {BATCH} examples"
    examples = training_examples()
    sessions = examples.sessions
    inputs = sessions.clicks, sessions.offsets, examples.first_example, chosen()
    benchmark(reference.prefix_batch, *inputs)


def test_lists(benchmark: BenchmarkFixture) -> None:
    """Prefixes that lie ready as lists, as the field's loaders hold them; only put together."""
    benchmark.group = f"batch of {BATCH} examples"
    items, offsets, targets = training_examples().cut(chosen())
    prefixes = [part.tolist() for part in items.tensor_split(offsets[1:-1])]
    labels = targets.tolist()
    benchmark(lambda: (SessionBatch.from_lists(prefixes), torch.tensor(labels)))


def test_epoch(benchmark: BenchmarkFixture) -> None:
    """Every example once, in random order."""
    examples = training_examples()
    benchmark.group = f"{len(examples):,} examples, shuffled, in batches of {BATCH}"

    def epoch() -> int:
        order = shuffled(len(examples), seed=0, epoch=0)
        return sum(batch.targets.numel() for batch in examples.batches(BATCH, order))

    assert benchmark.pedantic(epoch, rounds=3) == len(examples)
