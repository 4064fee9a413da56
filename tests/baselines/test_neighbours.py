"""Every neighbour method against brute force over all training sessions: identical lists, ties included."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.baselines import VSKNN
from tagnn_fast.data import Sessions
from tagnn_fast.nn.config import ModelConfig
from tests.baselines import plain
from tests.baselines.cases import Case, cases, check, fitted

FEW_OR_ALL = st.one_of(st.integers(1, 5), st.just(1000))
DECAYS = st.sampled_from(sorted(plain.BY_PLACE))
SCALES = st.sampled_from([0.0, 0.1, 0.5, 1.25, 7.0])  # 0: does not matter
IDF = st.sampled_from([0.0, 1.0, 10.0])


@settings(deadline=None, max_examples=150)
@given(cases(), FEW_OR_ALL, FEW_OR_ALL, DECAYS, DECAYS, IDF)
def test_vs_knn(case: Case, neighbours: int, sample: int, click_decay: str, match_decay: str, idf: float) -> None:
    model = fitted(
        "vs_knn",
        case,
        neighbours=neighbours,
        sample=sample,
        click_decay=click_decay,
        match_decay=match_decay,
        idf_weight=idf,
    )
    by_place, by_steps = plain.BY_PLACE[click_decay], plain.BY_STEPS[match_decay]
    check(model, case, plain.neighbours(case.train, neighbours, sample, by_place, by_steps, idf))


@settings(deadline=None, max_examples=60)
@given(cases(), FEW_OR_ALL, FEW_OR_ALL, IDF)
def test_vmis_knn(case: Case, neighbours: int, sample: int, idf: float) -> None:
    model = fitted("vmis_knn", case, neighbours=neighbours, sample=sample, idf_weight=idf)
    by_place, by_steps = plain.BY_PLACE["div"], plain.BY_STEPS["linear"]
    check(model, case, plain.neighbours(case.train, neighbours, sample, by_place, by_steps, idf))


@settings(deadline=None, max_examples=100)
@given(cases(), FEW_OR_ALL, FEW_OR_ALL, st.sampled_from([0.05, 1.25, 9.0]), SCALES, SCALES)
def test_stan(
    case: Case, neighbours: int, sample: int, click_scale: float, recency_scale: float, distance_scale: float
) -> None:
    scales = {"click_scale": click_scale, "recency_scale": recency_scale, "distance_scale": distance_scale}
    model = fitted("stan", case, neighbours=neighbours, sample=sample, **scales)
    method = plain.neighbours(
        case.train,
        neighbours,
        sample,
        lambda place, length: math.exp(-(length - place) / click_scale),
        plain.BY_STEPS["same"],
        cosine=True,
        session_weights=plain.recency_weights(len(case.train), case.times, recency_scale),
        distance_scale=distance_scale,
    )
    check(model, case, method)


@settings(deadline=None, max_examples=100)
@given(cases(), FEW_OR_ALL, FEW_OR_ALL, SCALES, SCALES, st.sampled_from([0.05, 1.0, 9.0]), IDF)
def test_vstan(
    case: Case,
    neighbours: int,
    sample: int,
    recency_scale: float,
    distance_scale: float,
    match_scale: float,
    idf: float,
) -> None:
    model = fitted(
        "vstan",
        case,
        neighbours=neighbours,
        sample=sample,
        click_scale=2.5,
        recency_scale=recency_scale,
        distance_scale=distance_scale,
        match_scale=match_scale,
        idf_weight=idf,
    )
    method = plain.neighbours(
        case.train,
        neighbours,
        sample,
        lambda place, length: math.exp(-(length - place) / 2.5),
        lambda steps: math.exp(-(steps - 1) / match_scale),
        idf,
        cosine=True,
        session_weights=plain.recency_weights(len(case.train), case.times, recency_scale),
        distance_scale=distance_scale,
    )
    check(model, case, method)


def test_an_item_with_more_clicks_than_there_are_sessions() -> None:
    """Its inverse frequency is 0, not below: it is scored by its neighbours as any other."""
    baseline = VSKNN(ModelConfig(4))
    baseline.fit(Sessions.from_lists([[1, 1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 3]]))
    assert baseline.item_weights.tolist() == [1.0, 1 + 10 * math.log(3 / 2), 1 + 10 * math.log(3), 1.0]


@pytest.mark.parametrize("option", ["neighbours", "sample"])
def test_more_sessions_than_an_index_can_tell_apart(option: str) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: expected at most 2147483647, got 100000000000000000000$"):
        VSKNN(ModelConfig(4), **{option: 10**20})
