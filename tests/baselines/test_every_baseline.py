"""What all baselines promise: the same answers fitted again, scripted, on any number of threads, in any batch."""

from __future__ import annotations

from typing import Optional

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from tagnn_fast.baselines import BASELINES
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data import Sessions
from tagnn_fast.nn.config import ModelConfig
from tests.baselines.cases import Case, cases, fitted, ranked
from tests.ops.checks import assert_equal_outputs, script_round_trip
from tests.support import batch, random_sessions

EVERY = pytest.mark.parametrize("name", BASELINES)
TRAIN = random_sessions([1 + 7 * n % 9 for n in range(300)], 50)
QUERIES = [[], *random_sessions([n % 13 for n in range(400)], 50, seed=1), [0, 3, 0], [0], list(range(1, 51))]


def large(name: str) -> tuple[Baseline, tuple[Tensor, Tensor, int, None, None, None]]:
    """A model of 50 items, and what to rank."""
    model = BASELINES[name](ModelConfig(50))
    model.fit(Sessions.from_lists(TRAIN))
    return model, (*batch(QUERIES), 20, None, None, None)


@EVERY
def test_fitted_again(name: str) -> None:
    """What is learnt is the same to the bit; on any number of threads, but where LAPACK solves equations."""
    learnt = large(name)[0].state_dict()
    before = torch.get_num_threads()
    torch.set_num_threads(before if name == "slist" else 3)
    try:
        again = large(name)[0].state_dict()
    finally:
        torch.set_num_threads(before)
    assert learnt.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in learnt.items())


@EVERY
def test_threads_do_not_matter(name: str) -> None:
    model, arguments = large(name)
    expected = model.ranked(*arguments)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            assert_equal_outputs(model.ranked(*arguments), expected)
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=25)
@given(cases())
@EVERY
def test_other_sessions_do_not_matter(name: str, case: Case) -> None:
    model = fitted(name, case)
    scores, rows = ranked(model, case)
    for number in range(len(case.queries)):
        alone = ranked(model, case, [number])
        assert_equal_outputs(alone, (scores[number : number + 1], rows[number : number + 1]))


class Ranking(torch.nn.Module):
    """What programs do with a baseline."""

    def __init__(self, model: Baseline) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        excluded: Optional[Tensor],
        excluded_offsets: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        return self.model.ranked(items, offsets, k, candidates, excluded, excluded_offsets)


@EVERY
def test_script(name: str) -> None:
    model, arguments = large(name)
    scripted = script_round_trip(torch.jit.script(Ranking(model)))
    assert_equal_outputs(scripted(*arguments), model.ranked(*arguments))
    left_out = batch([[number % 50, 7] for number in range(len(QUERIES))])
    some = (*arguments[:3], torch.arange(5, 30), *left_out)
    assert_equal_outputs(scripted(*some), model.ranked(*some))


@EVERY
def test_scores_of_all_items(name: str) -> None:
    """They are those of the lists."""
    model, (items, offsets, *_) = large(name)
    scores, rows = model.ranked(items, offsets, 50, None, None, None)
    every = model(items, offsets)
    assert torch.equal(every.gather(1, rows), scores)
    some = torch.tensor([7, 3, 3, 0])
    assert torch.equal(model.scores((), items, offsets, some), every[:, some])


@EVERY
def test_clicks_on_unknown_items_do_not_count(name: str) -> None:
    """Neither in training nor in the sessions to answer."""
    train, queries = [[1, 2, 3], [2, 1], [3, 3, 4], [4, 2]], [[1, 3], [4], [2, 2, 1]]
    holes = [[0, 1, 0, 2, 3, 0], [2, 0, 1], [0], [3, 3, 4], [0, 0, 4, 2]]
    times = [10, 20, 30, 40]
    model = BASELINES[name](ModelConfig(5))
    model.fit(Sessions.from_lists(train, times))
    other = BASELINES[name](ModelConfig(5))
    other.fit(Sessions.from_lists(holes, [10, 20, 25, 30, 40]))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    expected = model.ranked(*batch(queries), 5, None, None, None)
    actual = other.ranked(*batch([[1, 0, 3], [4, 0, 0], [0, 2, 2, 0, 1]]), 5, None, None, None)
    assert_equal_outputs(actual, expected)


@EVERY
def test_nothing_known(name: str) -> None:
    """The most popular items, whose scores are their clicks."""
    model, _ = large(name)
    items, offsets = batch([[], [0, 0]])
    best = model.best_rows((), items, offsets, 3, None, None, None)
    assert best.rows.tolist() == [model.popular[:3].tolist()] * 2
    assert best.scores.tolist() == [model.counts[model.popular[:3]].tolist()] * 2
    assert best.known_clicks.tolist() == [0, 0]


@EVERY
def test_what_cannot_be_fitted(name: str) -> None:
    model = BASELINES[name](ModelConfig(3))
    with pytest.raises(ValueError, match=r"^sessions: expected at least one with a known item, got none$"):
        model.fit(Sessions.from_lists([[0, 0]]))
    with pytest.raises(ValueError, match=r"^sessions: expected items of 0\.\.3, got 4$"):
        model.fit(Sessions.from_lists([[1, 4]]))
