"""Popularity, rules and nearest items against their definitions: identical lists, ties included."""

from __future__ import annotations

from collections import Counter
from unittest import mock

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.baselines import item_item
from tests.baselines import plain
from tests.baselines.cases import Case, cases, check, fitted

FEW_OR_ALL = st.one_of(st.integers(1, 4), st.just(1000))


@settings(deadline=None, max_examples=50)
@given(cases())
def test_popularity(case: Case) -> None:
    clicks = Counter(item for session in case.train for item in session)
    check(fitted("popularity", case), case, lambda query: clicks)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_session_popularity(case: Case) -> None:
    check(fitted("session_popularity", case), case, plain.session_popularity)


@settings(deadline=None, max_examples=80)
@given(cases(), FEW_OR_ALL, FEW_OR_ALL)
def test_sequential_rules(case: Case, distance: int, rules: int) -> None:
    popular = plain.by_popularity(case.train, case.items)
    method = plain.rules(plain.sequential_rules(case.train, distance), popular, rules)
    check(fitted("sequential_rules", case, distance=distance, rules=rules), case, method)


@settings(deadline=None, max_examples=50)
@given(cases(), FEW_OR_ALL)
def test_association_rules(case: Case, rules: int) -> None:
    popular = plain.by_popularity(case.train, case.items)
    method = plain.rules(plain.association_rules(case.train), popular, rules)
    check(fitted("association_rules", case, rules=rules), case, method)


@settings(deadline=None, max_examples=80)
@given(cases(), FEW_OR_ALL, st.sampled_from([0.0, 1.0, 20.0]), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_item_knn(case: Case, neighbours: int, regularization: float, balance: float) -> None:
    popular = plain.by_popularity(case.train, case.items)
    method = plain.rules(plain.item_knn(case.train, regularization, balance), popular, neighbours)
    options = {"neighbours": neighbours, "regularization": regularization, "balance": balance}
    check(fitted("item_knn", case, **options), case, method)


@settings(deadline=None, max_examples=50)
@given(cases(), st.integers(1, 40))
def test_pairs_are_added_up_in_parts(case: Case, pairs: int) -> None:
    """Long sessions too, of which a part ends in the middle."""
    for name in ("association_rules", "item_knn"):
        expected = fitted(name, case).state_dict()
        with mock.patch.object(item_item, "PAIRS", pairs):
            actual = fitted(name, case).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in actual.items())
