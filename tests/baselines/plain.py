"""The baselines as their papers define them, in plain Python: every training session is looked at, nothing is indexed.

Items and sessions are lists of ids from 1; a score is missing where a method knows nothing of an item.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

Session = Sequence[int]
Scores = Mapping[int, float]
Method = Callable[[Session], Scores]

# What a click at `place` of `length` weighs, both from 1; and what a neighbour weighs whose latest shared click is
# so many steps from the end, from 1 (Ludewig & Jannach 2018, and what their code does).
BY_PLACE: dict[str, Callable[[int, int], float]] = {
    "same": lambda place, length: 1.0,
    "div": lambda place, length: place / length,
    "linear": lambda place, length: max(0.0, 1 - 0.1 * (length - place)),
    "log": lambda place, length: 1 / math.log10(length - place + 1.7),
    "quadratic": lambda place, length: (place / length) * (place / length),
}
BY_STEPS: dict[str, Callable[[int], float]] = {
    "same": lambda steps: 1.0,
    "div": lambda steps: 1 / steps,
    "linear": lambda steps: max(0.0, 1 - 0.1 * steps),
    "log": lambda steps: 1 / math.log10(steps + 1.7),
    "quadratic": lambda steps: 1 / (steps * steps),
}


def by_popularity(train: Sequence[Session], items: int) -> list[int]:
    """All items, those with most clicks first, equal ones by id."""
    clicks = Counter(item for session in train for item in session)
    return sorted(range(1, items + 1), key=lambda item: (-clicks[item], item))


def ranked(scores: Scores, allowed: Sequence[int], k: int) -> list[tuple[int, float]]:
    """The best k of these items, most popular first, with their scores: 0 where unknown or below."""
    order = sorted(allowed, key=lambda item: -max(0.0, scores.get(item, 0.0)))
    return [(item, max(0.0, scores.get(item, 0.0))) for item in order[:k]]


def neighbours(
    train: Sequence[Session],
    k: int,
    sample: int,
    by_place: Callable[[int, int], float],
    by_steps: Callable[[int], float],
    idf_weight: float = 0.0,
    cosine: bool = False,
    session_weights: Sequence[float] | None = None,
    distance_scale: float = 0.0,
) -> Method:
    """What V-SkNN, STAN, VSTAN and VMIS-kNN have in common."""
    clicks = Counter(item for session in train for item in session)

    def score(query: Session) -> Scores:
        places = {item: place for place, item in enumerate(query, 1)}  # of the last click on each
        in_order = sorted(places, key=lambda item: places[item])
        weight = {item: by_place(place, len(query)) for item, place in places.items()}

        sharing = [number for number, session in enumerate(train) if set(session) & set(query)]
        similarity = {}
        for number in sharing[-sample:]:
            own = set(train[number])
            value = 0.0
            for item in in_order:
                if item in own:
                    value += weight[item]
            norm: float = len(places)
            if cosine:
                norm = math.sqrt(sum(weight[item] * weight[item] for item in in_order)) * math.sqrt(len(own))
            similarity[number] = value / norm * (1.0 if session_weights is None else session_weights[number])
        nearest = sorted((n for n in similarity if similarity[n] > 0), key=lambda n: (-similarity[n], -n))[:k]

        scores: defaultdict[int, float] = defaultdict(float)
        for number in sorted(nearest, reverse=True):
            last = {item: place for place, item in enumerate(train[number], 1)}
            shared = [item for item in in_order if item in last]
            match = by_steps(len(query) - places[shared[-1]] + 1)
            latest = max(last[item] for item in shared)
            for item, place in last.items():
                value = similarity[number]
                if distance_scale > 0:
                    value *= math.exp(-abs(place - latest) / distance_scale)
                scores[item] += value * (1 + idf_weight * max(0.0, math.log(len(train) / clicks[item]))) * match
        return scores

    return score


def ages(sessions: int, times: Sequence[int] | None) -> list[float]:
    """From 1, the oldest, to 0, by time, or by their number where there is no time."""
    moments = range(sessions) if times is None else times
    newest, period = max(moments), max(1, max(moments) - min(moments))
    return [(newest - moment) / period for moment in moments]


def recency_weights(sessions: int, times: Sequence[int] | None, scale: float) -> list[float]:
    return [1.0 if scale == 0 else math.exp(-age / scale) for age in ages(sessions, times)]


def session_popularity(query: Session) -> Scores:
    """How often the session has clicked on each of its items."""
    return Counter(query)


def rules(weights: Mapping[tuple[int, int], Fraction | float], popular: Sequence[int], most: int) -> Method:
    """The last click's best rules, as float32, equal ones by popularity."""
    rank = {item: place for place, item in enumerate(popular)}
    rows: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    for (item, other), weight in weights.items():
        rows[item].append((float(np.float32(float(weight))), other))
    best = {
        item: {other: value for value, other in sorted(row, key=lambda rule: (-rule[0], rank[rule[1]]))[:most]}
        for item, row in rows.items()
    }
    return lambda query: best.get(query[-1], {}) if query else {}


def sequential_rules(train: Sequence[Session], distance: int) -> dict[tuple[int, int], Fraction]:
    """1 / d for each click that follows another d clicks later."""
    weights: defaultdict[tuple[int, int], Fraction] = defaultdict(Fraction)
    for session in train:
        for place, item in enumerate(session):
            for steps, later in enumerate(session[place + 1 : place + 1 + distance], 1):
                weights[item, later] += Fraction(1, steps)
    return weights


def association_rules(train: Sequence[Session]) -> dict[tuple[int, int], Fraction]:
    """How many pairs of clicks of one session are on these two items."""
    weights: defaultdict[tuple[int, int], Fraction] = defaultdict(Fraction)
    for session in train:
        for place, item in enumerate(session):
            for other_place, other in enumerate(session):
                if place != other_place and item != other:
                    weights[item, other] += 1
    return weights


def item_knn(train: Sequence[Session], regularization: float, balance: float) -> dict[tuple[int, int], float]:
    """Sessions with both, over a mean of the sessions with each."""
    having: defaultdict[int, set[int]] = defaultdict(set)
    for number, session in enumerate(train):
        for item in session:
            having[item].add(number)
    weights = {}
    for item, sessions in having.items():
        for other, other_sessions in having.items():
            both = len(sessions & other_sessions)
            if item != other and both:
                own, others = len(sessions) + regularization, len(other_sessions) + regularization
                weights[item, other] = both / (own**balance * others ** (1 - balance))
    return weights
