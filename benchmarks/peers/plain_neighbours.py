"""V-SkNN and sequential rules as one writes them from the papers: dictionaries, sets, and a loop per session.

    python -m benchmarks.peers.plain_neighbours DATASET [--prefixes 2000] [--neighbours 500] [--sample 5000]

fits both on all training sessions, answers test prefixes drawn at random, and prints seconds beside those of the native
baselines. Figures of accuracy are of these prefixes alone: they show that it is the method, and compare nothing.
"""

from __future__ import annotations

import heapq
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import torch
import typer

from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import Dataset, PrefixExamples, Sessions, read_dataset
from tagnn_fast.data.examples import ExampleBatch
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.recommender import Recommender

Decay = Literal["quadratic", "log", "div"]
# What a click at a place of the prefix, 1 the first, counts in the similarity: arguments are the place and the length.
BY_PLACE: dict[Decay, Callable[[int, int], float]] = {
    "quadratic": lambda place, length: (place / length) ** 2,
    "log": lambda place, length: 1 / math.log10(length - place + 1.7),
    "div": lambda place, length: place / length,
}
# What a neighbour counts whose latest shared click is so many steps back, 1 the last click.
BY_STEPS: dict[Decay, Callable[[int], float]] = {
    "quadratic": lambda steps: 1 / steps**2,
    "log": lambda steps: 1 / math.log10(steps + 1.7),
    "div": lambda steps: 1 / steps,
}
RULE_CLICKS = 10  # how far apart two clicks may be for a sequential rule
K = 20


class Answers(NamedTuple):
    """Lists of items, best first, the seconds to fit and for all lists, the median milliseconds of one alone."""

    lists: list[list[int]]
    fit_seconds: float
    seconds: float
    milliseconds: float


class Plain(Protocol):
    """What both are."""

    def scores(self, prefix: Sequence[int]) -> Mapping[int, float]:
        """Score of each item that the prefix speaks for, by id; the prefix may be empty."""


class PlainNeighbours:
    """V-SkNN (Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", 2018).

    Args:
        sessions: item ids of training sessions, in order of time.
        neighbours: sessions that have a say: the most similar, the more recent of equal ones.
        sample: sessions that are compared: the most recent of those that share an item with the prefix.
        by_place: how clicks of the prefix count in the similarity, the last one most.
        by_steps: how a neighbour counts by its latest shared click.
        idf_weight: an item's score grows by so many times the logarithm of sessions / its clicks.
    """

    def __init__(
        self,
        sessions: Sequence[Sequence[int]],
        neighbours: int = 500,
        sample: int = 5000,
        by_place: Decay = "quadratic",
        by_steps: Decay = "div",
        idf_weight: float = 10.0,
    ) -> None:
        self.neighbours, self.sample = neighbours, sample
        self.by_place, self.by_steps = BY_PLACE[by_place], BY_STEPS[by_steps]
        self.items_of = [set(session) for session in sessions]
        self.sessions_of: defaultdict[int, list[int]] = defaultdict(list)
        for number, items in enumerate(self.items_of):
            for item in items:
                self.sessions_of[item].append(number)
        clicks = Counter(item for session in sessions for item in session)
        self.factor = {item: 1 + idf_weight * math.log(len(sessions) / count) for item, count in clicks.items()}

    def scores(self, prefix: Sequence[int]) -> Mapping[int, float]:
        """Scores of all items of all neighbours."""
        weights: dict[int, float] = {}
        for place, item in enumerate(prefix, 1):
            weights.pop(item, None)  # one clicked twice counts as its later click does, and stands there
            weights[item] = self.by_place(place, len(prefix))
        sharing: set[int] = set()
        for item in weights:
            sharing.update(self.sessions_of.get(item, ()))
        similarity = {}
        for session in heapq.nlargest(self.sample, sharing):
            items = self.items_of[session]
            shared = sum(weight for item, weight in weights.items() if item in items)
            similarity[session] = shared / len(weights)
        nearest = sorted(similarity, key=lambda session: (-similarity[session], -session))[: self.neighbours]
        scores: defaultdict[int, float] = defaultdict(float)
        for session in nearest:
            items = self.items_of[session]
            steps = next(steps for steps, item in enumerate(reversed(prefix), 1) if item in items)
            weight = similarity[session] * self.by_steps(steps)
            for item in items:
                scores[item] += weight * self.factor[item]
        return scores


class PlainRules:
    """Sequential rules (the same paper): an item that comes d clicks after the last one counts 1/d, d up to 10."""

    def __init__(self, sessions: Sequence[Sequence[int]]) -> None:
        self.rules: defaultdict[int, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        for session in sessions:
            for place, item in enumerate(session):
                for distance, later in enumerate(session[place + 1 : place + 1 + RULE_CLICKS], 1):
                    self.rules[item][later] += 1 / distance

    def scores(self, prefix: Sequence[int]) -> Mapping[int, float]:
        """Scores of what followed the last click."""
        return self.rules.get(prefix[-1], {}) if prefix else {}


def best(scores: Mapping[int, float], popular: Sequence[int], rank: Mapping[int, int], k: int) -> list[int]:
    """The k items of highest score, of equal ones the more popular; then the most popular others."""
    items = heapq.nsmallest(k, scores, key=lambda item: (-scores[item], rank[item]))
    found = set(items)
    return (items + [item for item in popular[: 2 * k] if item not in found])[:k]


def lists(sessions: Sessions) -> list[list[int]]:
    """Item ids of every session."""
    bounds, clicks = sessions.offsets.tolist(), sessions.clicks.tolist()
    return [clicks[begin:end] for begin, end in pairwise(bounds)]


def timed_plain(make: Callable[[], Plain], prefixes: Sequence[Sequence[int]], popular: Sequence[int]) -> Answers:
    """Fit, and answer the prefixes one after the other."""
    rank = {item: place for place, item in enumerate(popular)}
    start = time.perf_counter()
    method = make()
    fit_seconds = time.perf_counter() - start
    found, times = [], []
    for prefix in prefixes:
        begin = time.perf_counter()
        found.append(best(method.scores(prefix), popular, rank, K))
        times.append(time.perf_counter() - begin)
    return Answers(found, fit_seconds, sum(times), 1e3 * median(times))


def timed_native(name: str, options: Mapping[str, Any], data: Dataset, batch: ExampleBatch) -> Answers:
    """Fit a baseline, answer the prefixes at once, as evaluation does, and one after the other, as a service does."""
    start = time.perf_counter()
    model = BASELINES[name](ModelConfig(len(data.vocabulary)), **options)
    model.fit(data.train)
    fit_seconds = time.perf_counter() - start
    recommender = Recommender(model, data.vocabulary)
    start = time.perf_counter()
    found = recommender.topk(batch.items, batch.offsets, K).items.tolist()
    seconds, times = time.perf_counter() - start, []
    for items in batch.items.tensor_split(batch.offsets[1:-1]):
        begin = time.perf_counter()
        recommender.topk(items, torch.tensor([0, len(items)]), K)
        times.append(time.perf_counter() - begin)
    return Answers(found, fit_seconds, seconds, 1e3 * median(times))


def figures_of(answers: Answers, targets: Sequence[int], all_prefixes: int) -> dict[str, float]:
    """Times, and how often the target was in the list."""
    ranks = [found.index(target) + 1 for found, target in zip(answers.lists, targets, strict=True) if target in found]
    return {
        "fit_seconds": answers.fit_seconds,
        "seconds": answers.seconds,
        "seconds_of_all_test_prefixes": answers.seconds * all_prefixes / len(targets),
        "milliseconds_one_by_one": answers.milliseconds,
        f"HR@{K}": 100 * len(ranks) / len(targets),
        f"MRR@{K}": 100 * sum(1 / rank for rank in ranks) / len(targets),
    }


def compared(
    data: Dataset, prefixes: int, neighbours: int, sample: int, by_place: Decay, by_steps: Decay, idf_weight: float
) -> dict[str, Any]:
    """Both methods, plain and native, on prefixes drawn from the test sessions."""
    examples = PrefixExamples(data.test)
    drawn = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:prefixes]
    batch = examples.cut(drawn.sort().values)
    # Items without a row are unknown to everybody.
    parts = [[item for item in part.tolist() if item] for part in batch.items.tensor_split(batch.offsets[1:-1])]
    train, popular, targets = lists(data.train), data.vocabulary.by_popularity().tolist(), batch.targets.tolist()
    options = {"neighbours": neighbours, "sample": sample, "click_decay": by_place, "match_decay": by_steps}
    methods: dict[str, tuple[Callable[[], Plain], dict[str, Any]]] = {
        "vs_knn": (
            lambda: PlainNeighbours(train, neighbours, sample, by_place, by_steps, idf_weight),
            {**options, "idf_weight": idf_weight},
        ),
        "sequential_rules": (lambda: PlainRules(train), {}),
    }
    figures: dict[str, Any] = {
        "dataset": data.name,
        "training_sessions": len(train),
        "prefixes": len(targets),
        "threads": torch.get_num_threads(),
    }
    for name, (make, native_options) in methods.items():
        plain, native = timed_plain(make, parts, popular), timed_native(name, native_options, data, batch)
        figures[name] = {
            "options": native_options,
            "plain": figures_of(plain, targets, len(examples)),
            "native": figures_of(native, targets, len(examples)),
            "same_lists_percent": 100 * sum(map(list.__eq__, plain.lists, native.lists)) / len(targets),
        }
    return figures


def main(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    prefixes: Annotated[int, typer.Option(help="Test prefixes to answer.", min=1)] = 2000,
    neighbours: Annotated[int, typer.Option(min=1)] = 500,
    sample: Annotated[int, typer.Option(min=1)] = 5000,
    by_place: Annotated[Decay, typer.Option()] = "quadratic",
    by_steps: Annotated[Decay, typer.Option()] = "div",
    idf_weight: Annotated[float, typer.Option()] = 10.0,
) -> None:
    """Time them on a data set; the options' defaults are V-SkNN's published ones for Diginetica."""
    figures = compared(read_dataset(dataset), prefixes, neighbours, sample, by_place, by_steps, idf_weight)
    print(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
