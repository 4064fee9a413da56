"""Target attention over Diginetica's catalogue: native, plain PyTorch, and the published formulation.

A batch of 32, which the published formulation still holds in memory. `python -m benchmarks.ops.target_attention`
measures more sizes, memory and trained weights.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.inputs import ITEMS
from benchmarks.ops.target_attention import PRECISIONS, Case, Inputs, make_call
from tests.support import matmul_precision

SESSIONS = 32


@pytest.mark.parametrize("variant", ["native", *PRECISIONS, "native, published semantics", "plain", "published"])
@pytest.mark.parametrize("task", ["training step", "scores", "top 20"])
def test_batch(benchmark: BenchmarkFixture, task: str, variant: str) -> None:
    benchmark.group = f"target attention, {task}, {SESSIONS} sessions"
    case = Case(variant, task, SESSIONS, ITEMS)
    with matmul_precision(PRECISIONS.get(variant, "highest")):
        benchmark.pedantic(make_call(case, Inputs(case)), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("variant", ["native", "plain", "reading the table"])
def test_one_session(benchmark: BenchmarkFixture, variant: str) -> None:
    benchmark.group = "target attention, top 20, 1 session"
    case = Case(variant, "top 20", 1, ITEMS)
    inputs = Inputs(case)
    benchmark(inputs.table.sum if variant == "reading the table" else make_call(case, inputs))


def test_peers_compute_the_same() -> None:
    """The peers are fair ones: same scores, in the semantics that the published formulation has."""
    case = Case("published", "scores", 4, 300)
    inputs = Inputs(case)
    expected = make_call(case, inputs)()
    for variant in ("native, published semantics", "plain, all kept"):
        torch.testing.assert_close(make_call(Case(variant, "scores", 4, 300), inputs)(), expected, rtol=0, atol=1e-4)
