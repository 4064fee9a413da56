"""Tests over sessions: all swaps and many draws written out, the size on null data, and what must not matter."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tagnn_fast.evaluation.significance import holm, paired_tests

SESSIONS = np.array([0, 0, 0, 4, 4, 7, 9, 9, 9, 9, 11, 12, 12])  # of each example
FIRST = np.array([100.0, 0, 100, 100, 100, 0, 100, 50, 100, 0, 100, 100, 0])
SECOND = np.array([0.0, 0, 100, 0, 100, 0, 0, 100, 0, 0, 100, 0, 100])


def sums(values: np.ndarray) -> np.ndarray:
    return np.array([values[session == SESSIONS].sum() for session in np.unique(SESSIONS)])


def test_against_all_swaps() -> None:
    """The randomisation test over all 2^6 ways to swap the two in whole sessions."""
    (test,) = paired_tests({"one": FIRST, "other": SECOND}, SESSIONS, resamples=40_000)
    apart = sums(FIRST) - sums(SECOND)
    observed = abs(apart.sum())
    swaps = [abs((np.array(signs) * apart).sum()) >= observed for signs in product([1, -1], repeat=len(apart))]
    assert test.difference == pytest.approx(FIRST.mean() - SECOND.mean())
    assert test.p_value == pytest.approx(np.mean(swaps), abs=0.01)
    assert test.corrected == test.p_value


def test_against_drawn_sessions() -> None:
    """The bootstrap interval by a loop that puts drawn sessions' examples side by side."""
    sessions = np.concatenate([SESSIONS + 20 * copy for copy in range(7)])
    generator = np.random.default_rng(5)
    first, second = (generator.permutation(np.tile(values, 7)) for values in (FIRST, SECOND))
    (test,) = paired_tests({"one": first, "other": second}, sessions, resamples=40_000)
    numbers, drawn = np.unique(sessions), []
    places_of = {number: np.flatnonzero(number == sessions) for number in numbers}
    for _ in range(10_000):
        places = np.concatenate([places_of[number] for number in generator.choice(numbers, len(numbers))])
        drawn.append((first - second)[places].mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (test.low, test.high) == (pytest.approx(low, abs=1), pytest.approx(high, abs=1))
    assert test.interval == f"{test.low:+.2f} to {test.high:+.2f}"


def test_no_interval_of_few_sessions() -> None:
    """Which would miss the truth twice as often as it says, and be a point where one wins everywhere."""
    for count, wanted in ((1, None), (39, None), (40, 100.0)):
        (test,) = paired_tests({"one": np.full(count, 100.0), "other": np.zeros(count)}, np.arange(count), 99)
        assert (test.difference, test.low, test.high) == (100, wanted, wanted)
    (few,) = paired_tests({"one": FIRST, "other": SECOND}, SESSIONS, 99)
    assert few.interval == "none of fewer than 40 sessions"


def test_names_and_order_of_pairs() -> None:
    values = {"a": FIRST, "b": SECOND, "c": FIRST}
    tests = paired_tests(values, SESSIONS, resamples=999)
    assert [(test.first, test.second) for test in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    same = tests[1]
    assert (same.difference, same.p_value, same.corrected) == (0, 1, 1)
    assert tests[0].difference == -tests[2].difference
    assert tests[0].p_value == tests[2].p_value
    assert paired_tests(values, SESSIONS, resamples=999) == tests
    assert paired_tests({"a": FIRST}, SESSIONS) == []


def test_not_over_examples() -> None:
    """A session ten times is one session with ten examples, not ten: the more alike, the wider the interval."""
    sessions = np.repeat(np.arange(40), 10)
    generator = np.random.default_rng(0)
    of_session = generator.integers(0, 2, (40, 2)) * 100.0
    one, other = (np.repeat(column, 10) for column in of_session.T)
    (by_session,) = paired_tests({"one": one, "other": other}, sessions, resamples=2_000)
    (by_example,) = paired_tests({"one": one, "other": other}, np.arange(400), resamples=2_000)
    session, example = (float(test.high or 0) - float(test.low or 0) for test in (by_session, by_example))
    assert session > 2.5 * example > 0
    assert by_session.p_value > by_example.p_value


def test_size_on_null_data() -> None:
    """Recommenders that are alike are told apart in about 5% of data sets; the interval misses 0 as often."""
    generator = np.random.default_rng(1)
    found, missed, data_sets = 0, 0, 400
    for seed in range(data_sets):
        sessions = np.repeat(np.arange(80), generator.integers(1, 6, 80))
        easy = generator.random(80)[sessions]  # examples of a session are alike
        values = {name: 100.0 * (generator.random(len(sessions)) < easy) for name in ("one", "other")}
        (test,) = paired_tests(values, sessions, resamples=399, seed=seed)
        found += test.p_value <= 0.05
        assert test.low is not None
        assert test.high is not None
        missed += not test.low <= 0 <= test.high
    assert 0.025 < found / data_sets < 0.08
    assert 0.025 < missed / data_sets < 0.09


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
