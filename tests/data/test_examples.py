"""PrefixExamples against a definition in Python lists: order, subsets, batches, resuming."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import ExampleBatch, PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.data.examples import parts, shuffled
from tests.support import DEVICES

LISTS = [[3, 9, 3, 4], [5], [7, 0, 7], [1, 2]]
Examples = list[tuple[list[int], int]]


def expected_examples(sessions: list[list[int]], counts: Iterable[int]) -> Examples:
    return [
        (session[:end], session[end])
        for session, count in zip(sessions, counts, strict=True)
        for end in range(len(session) - 1, len(session) - 1 - count, -1)
    ]


def as_lists(*batches: ExampleBatch) -> Examples:
    return [
        (prefix.tolist(), target)
        for items, offsets, targets in batches
        for prefix, target in zip(items.split(offsets.diff().tolist()), targets.tolist(), strict=True)
    ]


def test_definition() -> None:
    examples = PrefixExamples(Sessions.from_lists(LISTS))
    expected = expected_examples(LISTS, [3, 0, 2, 1])
    assert len(examples) == 6
    assert as_lists(examples.cut(torch.arange(6))) == expected
    assert examples.prefix_lengths().tolist() == [3, 2, 1, 2, 1, 1]
    assert all(value.dtype == torch.int64 for value in examples.cut(torch.arange(2)))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=6), st.data())
def test_any_view(lists: list[list[int]], data: st.DataObject) -> None:
    """Any number of targets per session, any subset, any batch size, any place to resume from."""
    counts = [data.draw(st.integers(0, len(session) - 1)) for session in lists]
    whole = Sessions.from_lists(lists)
    sessions = Sessions(whole.clicks, whole.offsets, torch.tensor(counts, dtype=torch.int64))
    expected = expected_examples(lists, counts)
    subset = None
    if expected and data.draw(st.booleans()):
        numbers = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=8))
        subset = torch.tensor(numbers, dtype=torch.int64)
        expected = [expected[number] for number in numbers]
    examples = PrefixExamples(sessions, subset)
    assert len(examples) == len(expected)
    assert examples.prefix_lengths().tolist() == [len(prefix) for prefix, _ in expected]
    size, first = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 3))
    assert as_lists(*examples.batches(size, first=first)) == expected[first * size :]
    order = data.draw(st.permutations(range(len(expected))))
    batches = list(examples.batches(size, torch.tensor(order, dtype=torch.int64), first))
    assert as_lists(*batches) == [expected[place] for place in order[first * size :]]
    assert all(len(batch.targets) == size for batch in batches[:-1])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=6), st.data())
def test_clicks_that_examples_have(lists: list[list[int]], data: st.DataObject) -> None:
    """Up to the last target that is left of each session."""
    total = sum(len(session) - 1 for session in lists)
    numbers = data.draw(st.lists(st.integers(0, total - 1), max_size=8)) if total else []
    sessions = Sessions.from_lists(lists)
    examples = PrefixExamples(sessions, torch.tensor(numbers, dtype=torch.int64))
    longest = [0] * len(lists)
    for session, prefix in zip(examples.session_numbers().tolist(), examples.prefix_lengths().tolist(), strict=True):
        longest[session] = max(longest[session], prefix + 1)
    clicks, offsets = examples.clicks()
    bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    assert [clicks[begin:end].tolist() for begin, end in bounds] == [
        session[:last] for session, last in zip(lists, longest, strict=True)
    ]
    assert PrefixExamples(sessions).clicks() == (sessions.clicks, sessions.offsets)


def test_resuming() -> None:
    """The batches from number `first` on are those of a run that was not interrupted."""
    examples = PrefixExamples(synthetic_dataset(500, 20).train)
    order = shuffled(len(examples), seed=3, epoch=1)
    batches = list(examples.batches(32, order))
    assert len(batches) == -(-len(examples) // 32)
    for first in (0, 1, 7, len(batches) - 1, len(batches), len(batches) + 1):
        rest = list(examples.batches(32, order, first))
        assert as_lists(*rest) == as_lists(*batches[first:])
        assert len(rest) == max(0, len(batches) - first)


def test_every_example_once() -> None:
    """An epoch over synthetic data, shuffled, meets every click but the first of each session as a target."""
    train = synthetic_dataset(20_000, 300).train
    examples = PrefixExamples(train)
    lists = [part.tolist() for part in train.clicks.split(train.offsets.diff().tolist())]
    expected = expected_examples(lists, map(int, train.examples))
    assert len(examples) == len(expected) == len(train.clicks) - len(train)
    order = shuffled(len(examples), 0, 0)
    seen: Examples = [([], 0)] * len(expected)
    for place, example in zip(order.tolist(), as_lists(*examples.batches(100, order)), strict=True):
        seen[place] = example
    assert seen == expected


def test_no_examples() -> None:
    for sessions in ([], [[1], [2]]):
        examples = PrefixExamples(Sessions.from_lists(sessions))
        assert len(examples) == 0
        assert examples.prefix_lengths().tolist() == []
        assert list(examples.batches(3)) == []
        assert as_lists(examples.cut(torch.arange(0))) == []
    assert len(PrefixExamples(Sessions.from_lists(LISTS), torch.arange(0))) == 0


@pytest.mark.parametrize(("subset", "got"), [([0, 6], 6), ([-1, 2], -1), ([7], 7)])
def test_subset_errors(subset: list[int], got: int) -> None:
    with pytest.raises(ValueError) as error:
        PrefixExamples(Sessions.from_lists(LISTS), torch.tensor(subset))
    assert str(error.value).startswith("subset: expected example numbers ")
    assert str(error.value).endswith(f", got {got}")


@given(st.integers(0, 200), st.integers(0, 2**40), st.integers(0, 2**20 - 1))
def test_shuffled(examples: int, seed: int, epoch: int) -> None:
    """A permutation that only the seed and the epoch decide."""
    order = shuffled(examples, seed, epoch)
    torch.rand(1)
    assert torch.equal(shuffled(examples, seed, epoch), order)
    assert order.sort().values.tolist() == list(range(examples))


def test_shuffled_differs() -> None:
    orders = {tuple(shuffled(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_capacity() -> None:
    examples = PrefixExamples(Sessions.from_lists(LISTS), torch.tensor([1, 5, 0]))
    exact, padded = examples.cut(torch.tensor([2, 1])), examples.cut(torch.tensor([2, 1]), 9)
    assert padded.items.tolist() == [*exact.items.tolist(), 0, 0, 0, 0, 0]
    assert torch.equal(padded.offsets, exact.offsets)
    assert torch.equal(padded.targets, exact.targets)


@pytest.mark.parametrize("device", DEVICES)
def test_to(device: str) -> None:
    for subset in (None, torch.tensor([4, 1])):
        examples = PrefixExamples(Sessions.from_lists(LISTS), subset)
        places = torch.arange(len(examples))
        moved = examples.to(device)
        assert len(moved) == len(examples)
        assert torch.equal(moved.prefix_lengths().cpu(), examples.prefix_lengths())
        for value, expected in zip(moved.cut(places.to(device), 20), examples.cut(places, 20), strict=True):
            assert value.device.type == device
            assert torch.equal(value.cpu(), expected)


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([3, 4, 5], None, [3]),
        ([3, 4, 5], 12, [3]),
        ([3, 4, 5], 11, [2, 1]),
        ([3, 4, 5], 6, [1, 1, 1]),
        ([9, 1, 1, 9, 9, 2], 3, [1, 2, 1, 1, 1]),
        ([1, 9], 3, [1, 1]),
        ([], 3, [0]),
    ],
)
def test_parts(lengths: list[int], most: int | None, expected: list[int]) -> None:
    """None has more clicks than allowed, but for an example that has more by itself."""
    assert parts(torch.tensor(lengths, dtype=torch.int64), most) == expected


def test_batches_in_parts() -> None:
    examples = PrefixExamples(Sessions.from_lists([[1] * 9, [2, 3], [4] * 5, [5, 6, 7]]))
    whole = list(examples.batches(6))
    batches = list(examples.batches(6, most_clicks=10))
    assert [tuple(torch.cat([b.targets for b in group]).tolist()) for group in (whole, batches)] == [
        tuple(torch.cat([b.targets for b in whole]).tolist())
    ] * 2
    assert torch.equal(torch.cat([b.items for b in batches]), torch.cat([b.items for b in whole]))
    assert max(b.items.numel() for b in batches) <= 10
    assert sum(len(b.targets) < 6 for b in batches) > 2
