"""A training step, which must dwarf the sampling of its batch."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS, training_examples
from tagnn_fast import TAGNNPP, ModelConfig
from tagnn_fast.data.examples import shuffled

BATCH = 512


@pytest.mark.parametrize("what", ["sampler", "training step"])
def test_training_step(benchmark: BenchmarkFixture, what: str) -> None:
    benchmark.group = f"sampling {BATCH} examples against training on them, hidden size 100"
    examples = training_examples()
    order = shuffled(len(examples), seed=0, epoch=0)[:BATCH]
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
