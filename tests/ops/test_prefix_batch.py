"""prefix_batch against its twin, a definition in Python lists, and any values at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from support import SESSIONS, batch
from tagnn_fast import reference
from tagnn_fast.ops import prefix_batch

INT64 = st.integers(-(2**63), 2**63 - 1)


def sample_inputs(sessions: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Clicks, offsets and first examples where every proper prefix is an example."""
    items, offsets = batch(sessions)
    counts = (offsets.diff() - 1).clamp(min=0)
    return items.int(), offsets, torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def as_lists(items: Tensor, offsets: Tensor, targets: Tensor) -> list[tuple[list[int], int]]:
    bounds = offsets.tolist()
    return [
        (items[begin:end].tolist(), target)
        for begin, end, target in zip(bounds[:-1], bounds[1:], targets.tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", SESSIONS)
def test_definition(name: str) -> None:
    clicks, offsets, first = sample_inputs(SESSIONS[name])
    expected = [(s[:end], s[end]) for s in SESSIONS[name] for end in range(len(s) - 1, 0, -1)]
    everything = torch.arange(int(first[-1]))
    assert as_lists(*prefix_batch(clicks, offsets, first, everything)) == expected
    some = torch.randint(0, max(1, len(expected)), (40,)) if expected else everything
    assert as_lists(*prefix_batch(clicks, offsets, first, some)) == [expected[i] for i in some.tolist()]


def test_fewer_examples_than_prefixes() -> None:
    """A session may count for its longest prefixes only, or for none."""
    clicks, offsets, _ = sample_inputs([[1, 2, 3, 4], [5, 6], [7, 8, 9]])
    first = torch.tensor([0, 1, 1, 3])
    assert as_lists(*prefix_batch(clicks, offsets, first, torch.arange(3))) == [([1, 2, 3], 4), ([7, 8], 9), ([7], 8)]


def test_numbers_that_are_no_example() -> None:
    clicks, offsets, first = sample_inputs([[1, 2, 3], [4, 5]])
    assert as_lists(*prefix_batch(clicks, offsets, first, torch.tensor([-1, 3, 2, 2**62]))) == [
        ([], 0),
        ([], 0),
        ([4], 5),
        ([], 0),
    ]


@settings(deadline=None, max_examples=300)
@given(st.lists(INT64, min_size=1, max_size=6), st.lists(INT64, max_size=8), st.integers(0, 12), st.data())
def test_any_values(offsets: list[int], examples: list[int], clicks: int, data: st.DataObject) -> None:
    """Nothing is read out of bounds, whatever the values."""
    first = data.draw(st.lists(INT64, min_size=len(offsets), max_size=len(offsets)))
    values = torch.arange(1, clicks + 1, dtype=torch.int32)
    items, bounds, targets = prefix_batch(
        values, torch.tensor(offsets), torch.tensor(first), torch.tensor(examples, dtype=torch.int64)
    )
    assert bounds.shape[0] == len(examples) + 1
    assert items.numel() == bounds[-1]
    assert targets.shape[0] == len(examples)
    assert bool(((items >= 1) & (items <= clicks)).all())
    assert bool(((targets >= 0) & (targets <= clicks)).all())


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(-2, 14), min_size=1, max_size=6),
    st.lists(st.integers(-3, 30), max_size=8),
    st.integers(0, 12),
    st.data(),
)
def test_equals_reference(offsets: list[int], examples: list[int], clicks: int, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 6), min_size=len(offsets), max_size=len(offsets)))
    values = torch.arange(1, clicks + 1, dtype=torch.int32)
    inputs = (values, torch.tensor(offsets), torch.tensor(counts).cumsum(0), torch.tensor(examples, dtype=torch.int64))
    for actual, expected in zip(prefix_batch(*inputs), reference.prefix_batch(*inputs), strict=True):
        assert torch.equal(actual, expected)


def test_opcheck() -> None:
    inputs = (*sample_inputs(SESSIONS["ragged"]), torch.tensor([4, 0, 2]))
    torch.library.opcheck(torch.ops.tagnn_fast.prefix_batch, inputs)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3), "clicks: expected int32 (any,) on the CPU, got float32 (3,) on the CPU"),
        (1, torch.zeros(0, dtype=torch.int64), "offsets: expected at least one value, got 0"),
        (
            2,
            torch.zeros(9, dtype=torch.int64),
            "first_example: expected int64 (4,) on the CPU, got int64 (9,) on the CPU",
        ),
        (
            3,
            torch.zeros(2, 2, dtype=torch.int64),
            "examples: expected int64 (any,) on the CPU, got int64 (2, 2) on the CPU",
        ),
    ],
)
def test_errors(position: int, value: Tensor, message: str) -> None:
    inputs = [*sample_inputs([[1, 2], [3], [4, 5, 6]]), torch.arange(3)]
    inputs[position] = value
    with pytest.raises(RuntimeError) as caught:
        prefix_batch(*inputs)
    assert str(caught.value).splitlines()[0] == message
