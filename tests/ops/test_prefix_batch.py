"""prefix_batch against its twin, a definition in Python lists, and any values at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import prefix_batch, reference
from tests.support import DEVICES, SESSIONS, batch

INT64 = st.integers(-(2**63), 2**63 - 1)
CAPACITIES = st.one_of(st.none(), st.integers(0, 40))


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("capacity", [0, 1, 7, 2000])
@pytest.mark.parametrize("name", SESSIONS)
def test_capacity(name: str, capacity: int, device: str) -> None:
    """The same batch, then zeros; what does not fit is left out at the end, its targets stay."""
    inputs = sample_inputs(SESSIONS[name])
    examples = torch.randperm(int(inputs[2][-1]), generator=torch.Generator().manual_seed(0)).repeat(3)
    items, offsets, targets = reference.prefix_batch(*inputs, examples)
    cut = prefix_batch(*(value.to(device) for value in (*inputs, examples)), capacity)
    assert torch.equal(cut[0].cpu(), torch.cat([items[:capacity], items.new_zeros(max(0, capacity - items.numel()))]))
    assert torch.equal(cut[1].cpu(), offsets.clamp(max=capacity))
    assert torch.equal(cut[2].cpu(), targets)


@pytest.mark.parametrize("device", DEVICES)
def test_many_examples(device: str) -> None:
    """More than one block adds up at once."""
    inputs = sample_inputs([list(range(1, 40))] * 9 + [[1, 2]] * 30)
    examples = torch.arange(int(inputs[2][-1])).repeat(8)
    expected = reference.prefix_batch(*inputs, examples, 60_000)
    for value, other in zip(
        prefix_batch(*(value.to(device) for value in (*inputs, examples)), 60_000), expected, strict=True
    ):
        assert torch.equal(value.cpu(), other)


@settings(deadline=None, max_examples=300)
@given(st.lists(INT64, min_size=1, max_size=6), st.lists(INT64, max_size=8), st.integers(0, 12), CAPACITIES, st.data())
def test_any_values(
    offsets: list[int], examples: list[int], clicks: int, capacity: int | None, data: st.DataObject
) -> None:
    """Nothing is read out of bounds, whatever the values."""
    first = data.draw(st.lists(INT64, min_size=len(offsets), max_size=len(offsets)))
    values = torch.arange(1, clicks + 1, dtype=torch.int32)
    items, bounds, targets = prefix_batch(
        values, torch.tensor(offsets), torch.tensor(first), torch.tensor(examples, dtype=torch.int64), capacity
    )
    used = int(bounds[-1])
    assert bounds.shape[0] == len(examples) + 1
    assert items.numel() == used if capacity is None else items.numel() == capacity >= used
    assert targets.shape[0] == len(examples)
    assert bool(((items[:used] >= 1) & (items[:used] <= clicks)).all())
    assert not bool(items[used:].any())
    assert bool(((targets >= 0) & (targets <= clicks)).all())


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(-2, 14), min_size=1, max_size=6),
    st.lists(st.integers(-3, 30), max_size=8),
    st.integers(0, 12),
    CAPACITIES,
    st.data(),
)
def test_equals_reference(
    offsets: list[int], examples: list[int], clicks: int, capacity: int | None, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 6), min_size=len(offsets), max_size=len(offsets)))
    values = torch.arange(1, clicks + 1, dtype=torch.int32)
    inputs = (values, torch.tensor(offsets), torch.tensor(counts).cumsum(0), torch.tensor(examples, dtype=torch.int64))
    for actual, expected in zip(
        prefix_batch(*inputs, capacity), reference.prefix_batch(*inputs, capacity), strict=True
    ):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    ("device", "capacity"), [("cpu", None), *((device, capacity) for device in DEVICES for capacity in (5, 40))]
)
def test_opcheck(device: str, capacity: int | None) -> None:
    inputs = (*sample_inputs(SESSIONS["ragged"]), torch.tensor([4, 0, 2]))
    torch.library.opcheck(torch.ops.tagnn_fast.prefix_batch, (*(value.to(device) for value in inputs), capacity))


def test_sizes_that_are_not_values() -> None:
    """With a capacity, a program with the op in it has no size that is only known when it runs."""

    class Cut(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return prefix_batch(*inputs, 40)

    inputs = (*sample_inputs(SESSIONS["ragged"]), torch.tensor([4, 0, 2]))
    program = torch.export.export(Cut(), inputs)
    assert [tuple(value.meta["val"].shape) for value in program.graph.output_node().args[0]] == [(40,), (4,), (3,)]


def test_negative_capacity() -> None:
    with pytest.raises(RuntimeError, match="^capacity: expected 0 or more, got -1"):
        prefix_batch(*sample_inputs([[1, 2]]), torch.arange(1), -1)


@pytest.mark.skipif("cuda" not in DEVICES, reason="no GPU")
def test_no_capacity_on_a_gpu() -> None:
    inputs = (*sample_inputs([[1, 2]]), torch.arange(1))
    with pytest.raises(RuntimeError, match="^capacity: expected a number of clicks on a GPU, where a size may not"):
        prefix_batch(*(value.cuda() for value in inputs))


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
