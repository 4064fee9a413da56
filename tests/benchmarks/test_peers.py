"""The peers that methods are timed against are fair ones: they answer what the papers say."""

from __future__ import annotations

import math

import pytest

from benchmarks.peers.plain_neighbours import (
    Decay,
    PlainNeighbours,
    PlainRules,
    best,
    compared,
    figures_of,
    timed_plain,
)
from tagnn_fast.data import synthetic_dataset

TRAIN = [[1, 2], [2, 3, 3], [1, 4, 2], [5, 6]]


def test_neighbours_by_hand() -> None:
    """Similarities of the prefix 1, 2: (1/4, 1) over the items shared, halved."""
    method = PlainNeighbours(TRAIN, neighbours=2, sample=3, idf_weight=2.0)
    scores = method.scores([1, 2])
    # Sessions 0 and 2 share both items, 5/8; session 1 only the last, 4/8, and is no neighbour. Both have the last
    # click, which is one step back.
    factor = {item: 1 + 2 * math.log(4 / clicks) for item, clicks in {1: 2, 2: 3, 4: 1}.items()}
    assert scores == pytest.approx({1: 1.25 * factor[1], 2: 1.25 * factor[2], 4: 0.625 * factor[4]})


def test_neighbours_are_the_most_similar_and_of_equal_ones_the_more_recent() -> None:
    one = PlainNeighbours(TRAIN, neighbours=1, idf_weight=0.0)
    assert one.scores([1, 2]).keys() == {1, 2, 4}
    two = PlainNeighbours(TRAIN, neighbours=1, sample=1, idf_weight=0.0)
    assert two.scores([3, 2, 1]).keys() == {1, 2, 4}
    assert PlainNeighbours(TRAIN, sample=2, idf_weight=0.0).scores([2]).keys() == {1, 2, 3, 4}


def test_a_neighbour_counts_by_its_latest_shared_click() -> None:
    scores = PlainNeighbours(TRAIN, by_place="div", by_steps="quadratic", idf_weight=0.0).scores([5, 3, 3, 7])
    # Item 3 counts by its later click, 3/4; it is 2 steps back, item 5 with 1/4 is 4 back. Three items are distinct.
    assert scores == pytest.approx({2: 0.25 / 4, 3: 0.25 / 4, 5: 0.25 / 3 / 16, 6: 0.25 / 3 / 16})
    log = PlainNeighbours(TRAIN, by_place="log", by_steps="log", idf_weight=0.0).scores([5, 7])
    assert log[6] == pytest.approx(1 / math.log10(2.7) / 2 / math.log10(3.7))


@pytest.mark.parametrize("method", [PlainNeighbours(TRAIN), PlainRules(TRAIN)])
def test_nothing_known_has_no_scores(method: PlainNeighbours | PlainRules) -> None:
    assert not method.scores([])
    assert not method.scores([99])


def test_rules_by_hand() -> None:
    rules = PlainRules([[1, 2, 3, 2], [9, *range(20, 32)]])
    assert rules.scores([7, 1]) == pytest.approx({2: 1 + 1 / 3, 3: 1 / 2})
    assert rules.scores([2]) == pytest.approx({3: 1.0, 2: 1 / 2})
    assert rules.scores([9]).keys() == set(range(20, 30))


def test_lists_and_figures() -> None:
    popular = [8, 1, 2, 5, 3]
    rank = {item: place for place, item in enumerate(popular)}
    assert best({3: 1.0, 5: 1.0, 8: 2.0}, popular, rank, 5) == [8, 5, 3, 1, 2]
    assert best({3: 1.0, 5: 1.0, 8: 2.0}, popular, rank, 2) == [8, 5]
    answers = timed_plain(lambda: PlainRules(TRAIN), [[1], [5], []], [2, 3, 1, 4, 5, 6])
    # The rules of 1 are 2 with 1 + 1/2 and 4 with 1; of 5, 6; then all others.
    assert answers.lists == [[2, 4, 3, 1, 5, 6], [6, 2, 3, 1, 4, 5], [2, 3, 1, 4, 5, 6]]
    figures = figures_of(answers, [4, 6, 0], all_prefixes=30)
    assert figures["HR@20"] == pytest.approx(200 / 3)
    assert figures["MRR@20"] == pytest.approx(100 * (1 / 2 + 1) / 3)
    assert figures["seconds_of_all_test_prefixes"] == pytest.approx(10 * figures["seconds"])


@pytest.mark.parametrize(("by_place", "by_steps"), [("quadratic", "div"), ("log", "quadratic"), ("div", "log")])
def test_native_ones_answer_the_same(by_place: Decay, by_steps: Decay) -> None:
    data = synthetic_dataset(clicks=4000, items=80)
    figures = compared(data, 100, 20, 50, by_place, by_steps, idf_weight=3.0)
    assert figures["prefixes"] == 100
    assert figures["vs_knn"]["same_lists_percent"] == 100
    # Rules are sums of 1/d, which round apart where they are added in another order.
    assert figures["sequential_rules"]["same_lists_percent"] >= 95
    for name in ("vs_knn", "sequential_rules"):
        assert figures[name]["plain"]["HR@20"] == pytest.approx(figures[name]["native"]["HR@20"], abs=1)
        assert figures[name]["plain"]["HR@20"] > 0
