"""item_item_topk against its definition, and any values at all."""

from __future__ import annotations

from typing import Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import item_item_topk, reference_neighbours
from tests.ops import checks
from tests.ops.neighbour_inputs import ANY_FLOATS, ANY_INT32, ANY_INT64, assert_well_formed, choices, drawn, popularity
from tests.support import SESSIONS, batch

ITEMS = 40


def sample_inputs(name: str = "ragged", items: int = ITEMS) -> list[Tensor]:
    """A matrix with values that are often equal, for the sessions of that name."""
    clicks, offsets = batch(SESSIONS[name])
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 9, (items,), generator=generator)
    row_offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    entries = int(row_offsets[-1])
    columns = torch.randint(0, max(1, items), (entries,), generator=generator).int()
    values = torch.randint(0, 4, (entries,), generator=generator) / 2
    weights = torch.randint(0, 3, clicks.shape, generator=generator).double()
    popular = torch.randperm(items, generator=generator)
    return [clicks, offsets, weights, row_offsets, columns, values, popular, popular.argsort().int()]


def check(arguments: tuple[object, ...]) -> None:
    """Equal to the definition to the bit: sums are in one order."""
    actual, expected = item_item_topk(*arguments), reference_neighbours.item_item_topk(*arguments)
    assert torch.equal(actual[1], expected[1])
    assert torch.equal(actual[0], expected[0])


@pytest.mark.parametrize("k", [0, 1, 3, ITEMS, ITEMS + 7])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(name: str, k: int) -> None:
    check((*sample_inputs(name), k))


@pytest.mark.parametrize("k", [3, 50])
def test_candidates_and_exclusion(k: int) -> None:
    inputs = sample_inputs()
    candidates = torch.tensor([39, 7, 7, 0, *range(10, 25), -5, 40, 2**62])
    check((*inputs, k, candidates))
    excluded, offsets = torch.tensor([39, 0, -1, 12, 12, 2**62, 3] * 8), 7 * torch.arange(9)
    check((*inputs, k, candidates, excluded, offsets))
    check((*inputs, k, None, excluded, offsets))
    many = torch.randint(-5, 60, (400,), generator=torch.Generator().manual_seed(0))
    check((*inputs, k, None, many, 50 * torch.arange(9)))
    check((*inputs, k, candidates[:0]))


def test_products_above_0_count_whatever_their_signs() -> None:
    inputs = sample_inputs()
    weights, values = inputs[2] - 1, inputs[5] - 0.5
    check((*inputs[:2], weights, *inputs[3:5], values, *inputs[6:], ITEMS))


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 6), st.integers(0, 8), st.integers(0, 5), st.integers(0, 9), st.booleans(), st.data())
def test_any_values(
    items: int, clicks: int, sessions: int, entries: int, is_permutation: bool, data: st.DataObject
) -> None:
    """Nothing is read or written out of bounds; the definition holds wherever popularity is an order."""
    if is_permutation:
        popular, rank = popularity(data, items)
    else:
        popular = drawn(data, ANY_INT64, torch.int64, items)
        rank = drawn(data, ANY_INT32, torch.int32, items)
    arguments = (
        drawn(data, ANY_INT64, torch.int64, clicks),
        drawn(data, ANY_INT64, torch.int64, sessions + 1),
        drawn(data, ANY_FLOATS, torch.float64, clicks),
        drawn(data, ANY_INT64, torch.int64, items + 1),
        drawn(data, ANY_INT32, torch.int32, entries),
        drawn(data, ANY_FLOATS, torch.float32, entries),
        popular,
        rank,
        data.draw(st.integers(0, 9)),
        *choices(data, sessions),
    )
    assert_well_formed(item_item_topk(*arguments), sessions, arguments[8], items)
    if is_permutation:
        check(arguments)


def test_catalogues_of_any_size_in_turn() -> None:
    """What a thread keeps from call to call is no larger catalogue's scores."""
    for items in (40, 3, 0, 500, 40, 7, 1000):
        check((*sample_inputs("ragged", items), 9))


def test_after_a_refusal() -> None:
    inputs = sample_inputs()
    with pytest.raises(RuntimeError):
        item_item_topk(*inputs, 2**62)
    check((*inputs, 9))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_do_not_matter(threads: int) -> None:
    clicks, offsets = batch([[(7 * s + t) % 47 for t in range(s % 11)] for s in range(3000)])
    _, _, _, *matrix = sample_inputs()
    arguments = (clicks, offsets, torch.ones(clicks.shape, dtype=torch.float64), *matrix, 20)
    expected = item_item_topk(*arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        checks.assert_equal_outputs(item_item_topk(*arguments), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("ragged", (torch.arange(9), torch.arange(16), 2 * torch.arange(9))),
        ("skipped clicks", ()),
        ("empty batch", ()),
    ],
)
def test_opcheck(name: str, choice: tuple[Tensor, ...]) -> None:
    torch.library.opcheck(torch.ops.tagnn_fast.item_item_topk.default, (*sample_inputs(name), 5, *choice))


def test_other_devices_are_refused_in_our_own_words() -> None:
    """The kernel that every other device has; without one, told to take tensors that are not on the CPU."""
    inputs = [value.to("meta") for value in sample_inputs()]
    on_a_gpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError) as caught:
        torch.ops.tagnn_fast.item_item_topk.default.redispatch(on_a_gpu, *inputs, 5)
    assert str(caught.value).splitlines()[0] == (
        "items: expected int64 (any,) on the CPU, got int64 (43,) on another device"
    )


@torch.jit.script
def scripted(inputs: list[Tensor], k: int, candidates: Optional[Tensor]) -> tuple[Tensor, Tensor]:
    items, offsets, click_weights, row_offsets, columns, values, popular, rank = inputs
    return item_item_topk(items, offsets, click_weights, row_offsets, columns, values, popular, rank, k, candidates)


@pytest.mark.parametrize("candidates", [None, torch.arange(9)])
def test_script(candidates: Tensor | None) -> None:
    inputs = sample_inputs()
    actual = checks.script_round_trip(scripted)(inputs, 5, candidates)
    checks.assert_equal_outputs(actual, item_item_topk(*inputs, 5, candidates))


def test_strided_inputs() -> None:
    inputs = sample_inputs()
    strided = [value.repeat_interleave(2)[::2] for value in inputs]
    checks.assert_equal_outputs(item_item_topk(*strided, 9), item_item_topk(*inputs, 9))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3), "items: expected int64 (any,) on the CPU, got float32 (3,) on the CPU"),
        (1, torch.zeros(0).long(), "offsets: expected at least one value, got 0"),
        (2, torch.zeros(1).double(), "click_weights: expected float64 (3,) on the CPU, got float64 (1,) on the CPU"),
        (3, torch.zeros(40).long(), "row_offsets: expected int64 (41,) on the CPU, got int64 (40,) on the CPU"),
        (4, torch.zeros(9).long(), "columns: expected int32 (any,) on the CPU, got int64 (9,) on the CPU"),
        (5, torch.zeros(2), "values: expected float32 ("),
        (6, torch.zeros(40).int(), "popular: expected int64 (any,) on the CPU, got int32 (40,) on the CPU"),
        (7, torch.zeros(9).int(), "popularity_rank: expected int32 (40,) on the CPU, got int32 (9,) on the CPU"),
        (8, -1, "k: expected 0 or more, got -1"),
        (9, torch.zeros(2), "candidates: expected int64 (any,) on the CPU, got float32 (2,) on the CPU"),
        (10, torch.zeros(2).long(), "excluded: expected excluded_offsets with it, got one of them"),
    ],
)
def test_errors(position: int, value: object, message: str) -> None:
    arguments = [*sample_inputs("one click"), 3, None, None, None]
    arguments[position] = value
    with pytest.raises(RuntimeError) as caught:
        item_item_topk(*arguments)
    assert str(caught.value).splitlines()[0].startswith(message)
