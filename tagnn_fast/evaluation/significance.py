"""Whether one recommender is better than another beyond chance: paired tests over sessions.

The examples of a session are not independent, so what is drawn and swapped is whole sessions, never prefixes. Chance is
which sessions came to be the test set; how the seeds of a training differ is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

RESAMPLES = 10_000
FEWEST = (
    40  # sessions that give an interval: with fewer, it misses the truth in a tenth of cases instead of a twentieth
)
_NUMBERS_AT_ONCE = 1 << 22  # drawn, so that memory does not grow with the sessions
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PairedTest:
    """Two recommenders on the same examples.

    Attributes:
        first: name of one.
        second: name of the other.
        difference: mean of the first less mean of the second.
        low: the lower end of the 95% confidence interval of the difference; None for fewer than 40 sessions.
        high: its upper end.
        p_value: how often a difference as large comes of chance, where neither is better.
        corrected: the same, for so many pairs having been tested (Holm).
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    corrected: float

    @property
    def interval(self) -> str:
        """The confidence interval, for people."""
        if self.low is None or self.high is None:
            return f"none of fewer than {FEWEST} sessions"
        return f"{self.low:+.2f} to {self.high:+.2f}"


def paired_tests(
    values: Mapping[str, np.ndarray], sessions: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> list[PairedTest]:
    """Test each pair of recommenders.

    The confidence interval is the percentile bootstrap's over sessions (Efron & Tibshirani, "An introduction to the
    bootstrap", 1993, chapter 13): sessions are drawn with replacement, as many as there are. The p-value is the paired
    randomisation test's (Smucker et al., "A comparison of statistical significance tests for information retrieval
    evaluation", CIKM 2007), two-sided: the two recommenders are swapped in a random half of the sessions.

    Args:
        values: of each recommender, the value of each example, float (examples,), such as 100 for a hit and 0 for a
            miss.
        sessions: the session of each example, int64 (examples,).
        resamples: how often sessions are drawn, and swapped.
        seed: the same seed gives the same answer.
    """
    names = list(values)
    if len(names) < 2:
        return []
    _, place = np.unique(sessions, return_inverse=True)
    examples = np.bincount(place).astype(np.float64)
    sums = np.stack([np.bincount(place, of_examples) for of_examples in values.values()], 1)  # (sessions, recommenders)
    pairs = np.array(list(combinations(range(len(names)), 2))).reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    ends: list[Sequence[float | None]] = [[None] * len(pairs)] * 2
    if len(examples) >= FEWEST:
        drawn = np.concatenate(list(_bootstrap_means(sums, examples, resamples, np.random.default_rng([seed, 0]))))
        ends = np.percentile(drawn[:, first] - drawn[:, second], [2.5, 97.5], axis=0).tolist()
    means = sums.sum(0) / len(place)
    difference = means[first] - means[second]
    least = np.abs(difference) - _ROUNDING * np.abs(means).max(initial=0)
    as_large = np.zeros(len(pairs))
    for swapped in _swapped_sums(sums, resamples, np.random.default_rng([seed, 1])):
        as_large += (np.abs(swapped[:, first] - swapped[:, second]) / len(place) >= least).sum(0)
    p_values = (as_large + 1) / (resamples + 1)
    columns = first, second, difference, *ends, p_values, holm(p_values)
    return [
        PairedTest(names[one], names[other], float(apart), low, high, float(p_value), float(corrected))
        for one, other, apart, low, high, p_value, corrected in zip(*columns, strict=True)
    ]


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values for so many tests at once (Holm, 1979): below 0.05, the chance of any false alarm is below 0.05."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty_like(p_values)
    corrected[order] = np.maximum.accumulate(factors * p_values[order]).clip(max=1)
    return corrected


def _bootstrap_means(
    sums: np.ndarray, examples: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Means over the examples of sessions drawn with replacement, (some resamples, recommenders)."""
    sessions = len(sums)
    for rows in _blocks(resamples, sessions):
        drawn = generator.integers(0, sessions, (rows, sessions))
        drawn += np.arange(rows)[:, None] * sessions
        times = np.bincount(drawn.ravel(), minlength=rows * sessions).reshape(rows, sessions).astype(np.float64)
        yield times @ sums / (times @ examples)[:, None]


def _swapped_sums(sums: np.ndarray, resamples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Sums over sessions, each with a random sign, (some resamples, recommenders).

    The difference of two columns is that of two recommenders swapped where the sign is negative.
    """
    for rows in _blocks(resamples, len(sums)):
        kept = generator.integers(0, 2, (rows, len(sums)), dtype=np.int8)
        yield (2 * kept - 1).astype(np.float64) @ sums


def _blocks(resamples: int, sessions: int) -> Iterator[int]:
    """How many resamples are drawn at once, so that memory stays the same."""
    most = max(1, _NUMBERS_AT_ONCE // sessions)
    for begin in range(0, resamples, most):
        yield min(most, resamples - begin)
