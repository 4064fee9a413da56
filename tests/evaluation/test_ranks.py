"""Ranks of targets and statistics of lists against their definitions, written out list by list."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tagnn_fast.data import PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.data.examples import ExampleBatch
from tagnn_fast.evaluation.lists import gini
from tagnn_fast.evaluation.ranks import RankedTargets, rank_targets, read_ranks, write_ranks
from tagnn_fast.evaluation.scoring import score

DATA = synthetic_dataset(1_500, 60)
EXAMPLES = PrefixExamples(DATA.test)
ITEMS = len(DATA.vocabulary)


def recommend(batch: ExampleBatch, k: int) -> Tensor:
    """Any lists, which depend on the prefix alone: a window of the items, in an order of its own."""
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1)) + 1
    order = torch.cat([order, order])
    last = batch.items[batch.offsets[1:] - 1]
    return torch.stack([order[place : place + k] for place in (last * 7 % ITEMS).tolist()])


def written_out() -> tuple[list[list[int]], list[int]]:
    """The list and the target of each example, longest prefix of each session first."""
    prefixes, targets = list[list[int]](), list[int]()
    for begin, end in pairwise(DATA.test.offsets.tolist()):
        session = DATA.test.clicks[begin:end].tolist()
        for length in range(len(session) - 1, 0, -1):
            prefixes.append(session[:length])
            targets.append(session[length])
    lengths = torch.tensor([0, *map(len, prefixes)])
    clicks = torch.tensor([item for prefix in prefixes for item in prefix])
    batch = ExampleBatch(clicks, lengths.cumsum(0), torch.tensor(targets))
    return recommend(batch, 20).tolist(), targets


@pytest.mark.parametrize("batch_size", [7, 512])
def test_definition(batch_size: int) -> None:
    ranked = rank_targets(recommend, EXAMPLES, DATA.vocabulary, batch_size)
    lists, targets = written_out()
    expected = [best.index(target) + 1 if target in best else 0 for best, target in zip(lists, targets, strict=True)]
    assert ranked.ranks.tolist() == expected
    assert ranked.ranks.dtype == torch.uint8
    clicks = DATA.vocabulary.counts
    for cutoff in (5, 10, 20):
        shares = [sum(clicks[item - 1] / clicks.max() for item in best[:cutoff]) / cutoff for best in lists]
        assert ranked.lists[f"popularity@{cutoff}"] == pytest.approx(100 * sum(shares) / len(shares))
        times = Counter(item for best in lists for item in best[:cutoff])
        amounts = [times[item] for item in range(1, ITEMS + 1)]
        apart = sum(abs(one - other) for one in amounts for other in amounts)
        expected_gini = apart / (2 * ITEMS * (ITEMS - 1) * sum(amounts) / ITEMS)
        assert ranked.lists[f"Gini@{cutoff}"] == pytest.approx(expected_gini)


def test_the_figures_of_score() -> None:
    """To the bit."""
    assert rank_targets(recommend, EXAMPLES, DATA.vocabulary).figures == score(recommend, EXAMPLES, ITEMS)


def test_gini() -> None:
    assert gini(torch.tensor([3, 3, 3])) == 0
    assert gini(torch.tensor([0, 5, 0, 0])) == 1
    assert gini(torch.tensor([4])) == 0
    assert gini(torch.tensor([1, 0])) == 1


def test_a_small_catalogue() -> None:
    """Lists hold all of it."""
    data = synthetic_dataset(300, 8)
    items = torch.from_numpy(data.vocabulary.by_popularity())
    examples = PrefixExamples(data.test)
    ranked = rank_targets(lambda batch, k: items[:k].expand(len(batch.targets), k), examples, data.vocabulary)
    assert ranked.figures[f"HR@{len(items)}"] == 100
    assert int(ranked.ranks.max()) <= len(items)


def test_files(tmp_path: Path) -> None:
    ranked = RankedTargets(torch.tensor([0, 20, 1], dtype=torch.uint8), {"HR@20": 2 / 3}, {"Gini@20": 0.1})
    write_ranks(ranked, tmp_path / "ranks.parquet")
    read = read_ranks(tmp_path / "ranks.parquet", 3)
    assert (read.figures, read.lists) == (ranked.figures, ranked.lists)
    assert read.ranks.tolist() == [0, 20, 1]
    with pytest.raises(ValueError, match="expected the ranks of 4 targets, got 3"):
        read_ranks(tmp_path / "ranks.parquet", 4)
    with pytest.raises(FileNotFoundError):
        read_ranks(tmp_path / "none.parquet", 3)
    (tmp_path / "ranks.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="expected ranks of targets and their figures"):
        read_ranks(tmp_path / "ranks.parquet", 3)


def test_sessions_of_examples() -> None:
    examples = PrefixExamples(Sessions.from_lists([[1, 2, 3], [1], [2, 2]]))
    assert examples.session_numbers().tolist() == [0, 0, 2]
    assert PrefixExamples(examples.sessions, torch.tensor([2, 0])).session_numbers().tolist() == [2, 0]
