"""Groups of examples against loops over sessions."""

from __future__ import annotations

import pytest
import torch

from tagnn_fast.data import PrefixExamples, Sessions
from tagnn_fast.evaluation.breakdowns import breakdowns
from tagnn_fast.evaluation.metrics import rank_figures

CLICKS = torch.tensor([10, 40, 30, 20, 5, 5, 5, 5])  # 120: quarters of 30
#            item:      1   2   3   4  5  6  7  8
QUARTER = [2, 0, 1, 2, 3, 3, 3, 3]  # begin at: 90 of 120 is the fourth; item 2 is alone in the first


def test_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    lists = [
        torch.randint(0, 9, (int(length),), generator=generator).tolist()
        for length in torch.randint(1, 16, (60,), generator=generator)
    ]
    by_length, by_repeat, by_popularity = breakdowns(PrefixExamples(Sessions.from_lists(lists)), CLICKS)
    numbers = {1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 8: 4, 9: 4, 10: 4}
    examples = [(session[:length], session[length]) for session in lists for length in range(len(session) - 1, 0, -1)]
    assert by_length.group.tolist() == [numbers.get(len(prefix), 5) for prefix, _ in examples]
    assert by_repeat.group.tolist() == [2 if target == 0 else int(target in prefix) for prefix, target in examples]
    order = sorted(range(1, 9), key=lambda item: -int(CLICKS[item - 1]))
    before, quarters = 0, {0: 4}
    for item in order:
        quarters[item] = 4 * before // 120
        before += int(CLICKS[item - 1])
    assert by_popularity.group.tolist() == [quarters[target] for _, target in examples]
    assert [name.partition("(")[2] for name in by_popularity.groups[:4]] == [
        f"{sum(quarter == number for item, quarter in quarters.items() if item):,} items)" for number in range(4)
    ]


def test_figures_of_groups() -> None:
    """Each by the ranks of its own examples; together they are all of them."""
    examples = PrefixExamples(Sessions.from_lists([[1, 2, 1, 3], [0, 4], [2, 2]]))
    ranks = torch.tensor([3, 0, 1, 20, 2], dtype=torch.uint8)
    for breakdown in breakdowns(examples, CLICKS):
        assert sum(breakdown.sizes) == 5
        for group, (size, figures) in enumerate(zip(breakdown.sizes, breakdown.figures(ranks, 20), strict=True)):
            own = ranks[breakdown.group == group]
            assert len(own) == size
            assert figures == (rank_figures(torch.bincount(own, minlength=21), 20) if size else {})


def test_a_subset_and_a_part_of_sessions() -> None:
    """Clicks before the first target count as seen."""
    sessions = Sessions(torch.tensor([5, 6, 5, 6], dtype=torch.int32), torch.tensor([0, 4]), torch.tensor([1]))
    length, repeat, _ = breakdowns(PrefixExamples(sessions), CLICKS)
    assert (length.groups[int(length.group)], repeat.groups[int(repeat.group)]) == ("3", "yes")
    subset = PrefixExamples(Sessions.from_lists([[1, 2, 1, 3]]), torch.tensor([2, 1]))
    assert breakdowns(subset, CLICKS)[0].group.tolist() == [0, 1]


@pytest.mark.parametrize("clicks", [torch.tensor([7]), torch.tensor([0, 0])])
def test_odd_clicks(clicks: torch.Tensor) -> None:
    *_, by_popularity = breakdowns(PrefixExamples(Sessions.from_lists([[1, 1]])), clicks)
    assert sum(by_popularity.sizes) == 1
