"""What a call asks for: candidates, and what is excluded of them, for the model's lists and for popularity's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.baselines import VSTAN, SessionPopularity
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.nn.session_model import SessionModel
from tests.small_recommender import ITEMS, MODELS, make
from tests.support import batch

ASKED = [[103, 109, 103], [], [999, 998], [105, 999], list(range(101, 100 + ITEMS)), list(range(101, 101 + ITEMS))]
IDS = st.one_of(st.none(), st.lists(st.integers(95, 105 + ITEMS), max_size=12))


@settings(deadline=None, max_examples=25)
@given(IDS, IDS, st.booleans(), st.integers(1, 40), st.sampled_from([*MODELS, SessionPopularity, VSTAN]))
def test_what_is_chosen(
    candidates: list[int] | None, exclude: list[int] | None, own: bool, k: int, model: type[SessionModel | Baseline]
) -> None:
    """The whole ranking without all others, cut at k, whatever order they are given in, and however often."""
    recommender = make(model)
    everything = recommender.recommend(ASKED, ITEMS)
    options = {"candidates": candidates, "exclude": exclude, "exclude_clicked": own}
    answer = recommender.recommend(ASKED, k, **options)
    assert answer.status == everything.status == [0, 2, 2, 1, 0, 0]
    assert answer.skipped == everything.skipped == [0, 0, 2, 1, 0, 0]
    lists = answer.items, answer.scores, everything.items, everything.scores
    for session, items, scores, all_items, all_scores in zip(ASKED, *lists, strict=True):
        kept = [
            place
            for place, item in enumerate(all_items)
            if (candidates is None or item in candidates)
            and item not in (exclude or [])
            and not (own and item in session)
        ][:k]
        assert items == [all_items[place] for place in kept]
        assert scores == pytest.approx([all_scores[place] for place in kept])


@pytest.mark.parametrize("strings", [False, True])
def test_ids_of_every_kind(strings: bool) -> None:
    """As sessions take them."""
    recommender = make(strings=strings)
    ids = ["103", "104", "9999", "x"] if strings else [103, 104, 9999]
    expected = recommender.recommend([ids[:1], []], candidates=ids)
    assert [sorted(line) for line in expected.items] == [ids[:2]] * 2
    for kind in (tuple, set, np.array, pa.array, iter):
        assert recommender.recommend([ids[:1], []], candidates=kind(ids)) == expected
    assert recommender.recommend([ids[:1], []], exclude=recommender.vocabulary.raw_ids).items == [[], []]
    if not strings:
        assert recommender.recommend([[103], []], candidates=["103", 104]) == expected


@pytest.mark.parametrize("name", ["candidates", "exclude"])
def test_errors_name_the_argument(name: str) -> None:
    for ids, message in (("103", "expected several, got str '103'"), ([1.5], "expected integers, .*got float 1.5")):
        with pytest.raises(TypeError, match=f"^{name}: item ids: {message}$"):
            make().recommend([[103]], **{name: ids})
    with pytest.raises(TypeError, match=f"^{name}: item ids: expected strings, .*got int 103$"):
        make(strings=True).recommend([["103"]], **{name: [103]})
    for items, error, message in (
        (torch.tensor([31]), ValueError, "expected indices in 0..30, got 31"),
        (torch.tensor([1.0]), TypeError, "expected int64, got float32"),
    ):
        with pytest.raises(error, match=f"^{name}: {message}$"):
            make().topk(*batch([[1]]), 3, **{name: items})


def test_many_clicks_are_as_exact_as_few() -> None:
    """Float32 has 24 bits: popularity is counted in float64."""
    recommender = make()
    recommender.ranker.counts[:] = 2**24 + torch.arange(ITEMS).double()
    assert recommender.recommend([[]], ITEMS).items == [[100 + item for item in range(ITEMS, 0, -1)]]
