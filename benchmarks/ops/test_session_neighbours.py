"""Nearest neighbours and rules: native, and in plain Python as one writes them from the papers.

20,000 synthetic training sessions on 5,000 items, of which 1,000 are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.peers.plain_neighbours import Plain, PlainNeighbours, PlainRules, best, lists
from tagnn_fast.baselines import BASELINES
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data import Dataset, PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.nn.config import ModelConfig

K, SAMPLE = 20, 1000
OPTIONS: dict[str, dict[str, Any]] = {
    "sequential_rules": {},
    "item_knn": {},
    "vs_knn": {"sample": SAMPLE},
    "vmis_knn": {"sample": SAMPLE},
    "stan": {"sample": SAMPLE},
    "vstan": {"sample": SAMPLE},
}
PEERS: dict[str, Callable[[list[list[int]]], Plain]] = {
    "vs_knn": lambda train: PlainNeighbours(train, sample=SAMPLE),
    "sequential_rules": PlainRules,
}


@cache
def data() -> Dataset:
    return synthetic_dataset(clicks=111_000, items=5_000)


@cache
def fitted(name: str) -> Baseline:
    model = BASELINES[name](ModelConfig(len(data().vocabulary)), **OPTIONS[name])
    model.fit(data().train)
    return model


@cache
def plain(name: str) -> Plain:
    return PEERS[name](lists(data().train))


def prefixes(count: int) -> Sessions:
    """So many test prefixes."""
    examples = PrefixExamples(data().test)
    batch = examples.cut(torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:count])
    return Sessions.whole(batch.items.int(), batch.offsets)


def known_clicks(sessions: Sessions) -> list[list[int]]:
    """As the plain ones take them; native ones skip unknown clicks themselves."""
    return [[item for item in session if item] for session in lists(sessions)]


def native_call(name: str, sessions: Sessions) -> Callable[[], object]:
    model, items = fitted(name), sessions.clicks.long()
    return lambda: model.ranked(items, sessions.offsets, K, None, None, None)


def plain_call(name: str, sessions: Sessions) -> Callable[[], object]:
    method, queries, popular = plain(name), known_clicks(sessions), (fitted(name).popular + 1).tolist()
    rank = {item: place for place, item in enumerate(popular)}
    return lambda: [best(method.scores(query), popular, rank, K) for query in queries]


@pytest.mark.parametrize("sessions", [1, 512])
@pytest.mark.parametrize("name", OPTIONS)
def test_native(benchmark: BenchmarkFixture, name: str, sessions: int) -> None:
    benchmark.group = f"{name}, top {K}, {sessions} sessions"
    benchmark(native_call(name, prefixes(sessions)))


@pytest.mark.parametrize("sessions", [1, 512])
@pytest.mark.parametrize("name", PEERS)
def test_plain(benchmark: BenchmarkFixture, name: str, sessions: int) -> None:
    benchmark.group = f"{name}, top {K}, {sessions} sessions"
    benchmark.pedantic(plain_call(name, prefixes(sessions)), rounds=3)


@pytest.mark.parametrize("name", PEERS)
def test_peers_compute_the_same(name: str) -> None:
    """Best scores, of the items that both find; equal ones stand in other orders."""
    sessions = prefixes(40)
    scores, _ = fitted(name).ranked(sessions.clicks.long(), sessions.offsets, K, None, None, None)
    for query, native in zip(known_clicks(sessions), scores, strict=True):
        expected = sorted(plain(name).scores(query).values(), reverse=True)[:K]
        torch.testing.assert_close(
            native[: len(expected)], torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0
        )
