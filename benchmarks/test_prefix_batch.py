"""Batches of training examples: cut natively out of whole sessions, by its twin, and from Python lists.

And a whole epoch of them beside one training step, which must dwarf a batch.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from inputs import ITEMS, training_examples
from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch
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


@pytest.mark.parametrize("what", ["sampler", "training step"])
def test_training_step(benchmark: BenchmarkFixture, what: str) -> None:
    benchmark.group = f"sampling {BATCH} examples against training on them, hidden size 100"
    examples, order = training_examples(), chosen()
    if what == "sampler":
        benchmark(examples.cut, order)
        return
    torch.manual_seed(0)
    model = TAGNNPP(ModelConfig(ITEMS, hidden_size=100)).train()
    items, offsets, targets = examples.cut(order)

    def step() -> None:
        model.zero_grad()
        model.loss(items, offsets, targets).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
