"""session_neighbours_topk against its definition over all training sessions, and any values at all."""

from __future__ import annotations

from typing import Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast.ops import reference_neighbours, session_neighbours_topk
from tagnn_fast.ops.session_neighbours import DECAYS
from tests.ops import checks
from tests.ops.neighbour_inputs import (
    ANY_FLOATS,
    ANY_INT32,
    ANY_INT64,
    assert_well_formed,
    choices,
    drawn,
    options,
    popularity,
    session_index,
)
from tests.support import SESSIONS, batch, random_sessions

ITEMS = 30
K_ARGUMENT = 11
OPTIONS = (5, 9, DECAYS.index("quadratic"), 1.0, DECAYS.index("div"), 1.0, 0.0, False)
EXPONENTIAL = (5, 9, DECAYS.index("exponential"), 1.25, DECAYS.index("exponential"), 3.0, 2.0, True)


def sample_inputs(name: str = "ragged", items: int = ITEMS, sample: int = 9) -> list[Tensor]:
    """An index of 60 sessions on a few items, so that many are alike, for the sessions of that name."""
    generator = torch.Generator().manual_seed(0)
    trained = random_sessions([1 + 5 * n % 7 for n in range(60)], min(items, 12)) if items else []
    popular = torch.randperm(items, generator=generator)
    weights = torch.randint(0, 4, (len(trained),), generator=generator).double() / 2
    item_weights = torch.randint(-1, 4, (items,), generator=generator).double()
    index = session_index(trained, items, sample)
    return [*batch(SESSIONS[name]), *index, weights, item_weights, popular, popular.argsort().int()]


def check(arguments: tuple[object, ...]) -> None:
    """Equal to the definition to the bit: sums are in one order."""
    actual, expected = session_neighbours_topk(*arguments), reference_neighbours.session_neighbours_topk(*arguments)
    assert torch.equal(actual[1], expected[1])
    assert torch.equal(actual[0], expected[0])


@pytest.mark.parametrize("choice", [OPTIONS, EXPONENTIAL])
@pytest.mark.parametrize("k", [0, 1, ITEMS, ITEMS + 7])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(name: str, k: int, choice: tuple[object, ...]) -> None:
    check((*sample_inputs(name), k, *choice))


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("match_decay", range(len(DECAYS)))
@pytest.mark.parametrize("click_decay", range(len(DECAYS)))
def test_decays(click_decay: int, match_decay: int, cosine: bool) -> None:
    check((*sample_inputs("ragged", sample=20), 12, 7, 20, click_decay, 1.5, match_decay, 0.7, 0.0, cosine))


def test_distances_beyond_those_computed_once() -> None:
    """A neighbour of 200 clicks."""
    clicks, offsets, *_ = sample_inputs("one click")
    index = session_index([list(range(1, 201)), [4, 200], [9] * 80 + [4]], 200, 9)
    popular = torch.arange(200)
    inputs = (clicks, offsets, *index, torch.ones(3).double(), torch.ones(200).double(), popular, popular.int())
    check((*inputs, 200, *OPTIONS[:6], 40.0, True))


@pytest.mark.parametrize("k", [3, 50])
def test_candidates_and_exclusion(k: int) -> None:
    inputs = sample_inputs()
    candidates = torch.tensor([29, 7, 7, 0, *range(10, 25), -5, 30, 2**62])
    check((*inputs, k, *OPTIONS, candidates))
    excluded, offsets = torch.tensor([29, 0, -1, 12, 12, 2**62, 3] * 8), 7 * torch.arange(9)
    check((*inputs, k, *OPTIONS, candidates, excluded, offsets))
    check((*inputs, k, *OPTIONS, None, excluded, offsets))
    many = torch.randint(-5, 60, (400,), generator=torch.Generator().manual_seed(0))
    check((*inputs, k, *OPTIONS, None, many, 50 * torch.arange(9)))
    check((*inputs, k, *OPTIONS, candidates[:0]))


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 4), st.data())
def test_any_training_sessions(items: int, clicks: int, sessions: int, data: st.DataObject) -> None:
    """All options, queries of any values, lists of sessions cut where the options allow it."""
    session = st.lists(st.integers(1, items), max_size=5)
    trained = data.draw(st.lists(session, max_size=9))
    choice = options(data)
    arguments = (
        drawn(data, st.one_of(st.integers(0, items), ANY_INT64), torch.int64, clicks),
        drawn(data, st.one_of(st.integers(0, clicks), ANY_INT64), torch.int64, sessions + 1),
        *session_index(trained, items, choice[1]),
        drawn(data, ANY_FLOATS, torch.float64, len(trained)),
        drawn(data, ANY_FLOATS, torch.float64, items),
        *popularity(data, items),
        data.draw(st.integers(0, 9)),
        *choice,
        *choices(data, sessions),
    )
    check(arguments)


@settings(deadline=None, max_examples=120)
@given(*[st.integers(0, 6)] * 6, st.data())
def test_any_values(
    items: int, clicks: int, sessions: int, trained: int, postings: int, entries: int, data: st.DataObject
) -> None:
    """Nothing is read or written out of bounds, and lists are lists, whatever the index holds."""
    arguments = (
        drawn(data, ANY_INT64, torch.int64, clicks),
        drawn(data, ANY_INT64, torch.int64, sessions + 1),
        drawn(data, ANY_INT64, torch.int64, items + 1),
        drawn(data, ANY_INT32, torch.int32, postings),
        drawn(data, ANY_INT64, torch.int64, trained + 1),
        drawn(data, ANY_INT32, torch.int32, entries),
        drawn(data, ANY_INT32, torch.int32, entries),
        drawn(data, ANY_FLOATS, torch.float64, trained),
        drawn(data, ANY_FLOATS, torch.float64, items),
        drawn(data, ANY_INT64, torch.int64, items),
        drawn(data, ANY_INT32, torch.int32, items),
        data.draw(st.integers(0, 9)),
        *options(data),
        *choices(data, sessions),
    )
    assert_well_formed(session_neighbours_topk(*arguments), sessions, arguments[K_ARGUMENT], items)


def test_catalogues_of_any_size_in_turn() -> None:
    """What a thread keeps from call to call is no larger catalogue's scores."""
    for items in (30, 3, 0, 500, 30, 7, 1000):
        check((*sample_inputs("ragged", items), 9, *OPTIONS))


def test_after_a_refusal() -> None:
    inputs = sample_inputs()
    with pytest.raises(RuntimeError):
        session_neighbours_topk(*inputs, 2**62, *OPTIONS)
    check((*inputs, 9, *OPTIONS))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_do_not_matter(threads: int) -> None:
    queries = batch([[(7 * s + t) % 33 for t in range(s % 11)] for s in range(1000)])
    arguments = (*queries, *sample_inputs()[2:], 20, *EXPONENTIAL)
    expected = session_neighbours_topk(*arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        checks.assert_equal_outputs(session_neighbours_topk(*arguments), expected)
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
    torch.library.opcheck(
        torch.ops.tagnn_fast.session_neighbours_topk.default, (*sample_inputs(name), 5, *EXPONENTIAL, *choice)
    )


def test_other_devices_are_refused_in_our_own_words() -> None:
    """The kernel that every other device has; without one, told to take tensors that are not on the CPU."""
    inputs = [value.to("meta") for value in sample_inputs()]
    on_a_gpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError) as caught:
        torch.ops.tagnn_fast.session_neighbours_topk.default.redispatch(on_a_gpu, *inputs, 5, *OPTIONS)
    assert str(caught.value).splitlines()[0] == (
        "items: expected int64 (any,) on the CPU, got int64 (43,) on another device"
    )


@torch.jit.script
def scripted(inputs: list[Tensor], k: int, candidates: Optional[Tensor]) -> tuple[Tensor, Tensor]:
    items, offsets, posting_offsets, postings, session_offsets, session_items, positions = inputs[:7]
    weights, item_weights, popular, rank = inputs[7:]
    return session_neighbours_topk(
        items, offsets, posting_offsets, postings, session_offsets, session_items, positions, weights, item_weights,
        popular, rank, k, 5, 9, 5, 1.25, 5, 3.0, 2.0, True, candidates,
    )  # fmt: skip


@pytest.mark.parametrize("candidates", [None, torch.arange(9)])
def test_script(candidates: Tensor | None) -> None:
    inputs = sample_inputs()
    actual = checks.script_round_trip(scripted)(inputs, 5, candidates)
    checks.assert_equal_outputs(actual, session_neighbours_topk(*inputs, 5, *EXPONENTIAL, candidates))


def test_strided_inputs() -> None:
    inputs = sample_inputs()
    strided = [value.repeat_interleave(2)[::2] for value in inputs]
    checks.assert_equal_outputs(
        session_neighbours_topk(*strided, 9, *OPTIONS), session_neighbours_topk(*inputs, 9, *OPTIONS)
    )


TENSORS = {
    "items": torch.int64,
    "offsets": torch.int64,
    "posting_offsets": torch.int64,
    "postings": torch.int32,
    "session_offsets": torch.int64,
    "session_items": torch.int32,
    "session_positions": torch.int32,
    "session_weights": torch.float64,
    "item_weights": torch.float64,
    "popular": torch.int64,
    "popularity_rank": torch.int32,
}


@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensors(name: str) -> None:
    arguments = [*sample_inputs(), 9, *OPTIONS]
    position, expected = list(TENSORS).index(name), str(TENSORS[name]).removeprefix("torch.")
    right = arguments[position]
    wrong = [right.half(), right.unsqueeze(1)]
    if name not in ("items", "offsets", "postings", "session_items", "popular", "session_weights"):
        wrong.append(torch.cat([right, right]))
    for value in wrong:
        arguments[position] = value
        with pytest.raises(RuntimeError) as caught:
            session_neighbours_topk(*arguments)
        message = str(caught.value).splitlines()[0]
        assert message.startswith(f"{name}: expected {expected} (")
        assert message.endswith(f"({', '.join(map(str, value.shape))}{',' * (value.dim() == 1)}) on the CPU")


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, torch.zeros(0).long(), "offsets: expected at least one value, got 0"),
        (11, -1, "k: expected 0 or more, got -1"),
        (12, 0, "neighbours: expected 1 or more, got 0"),
        (13, -(2**63), f"sample: expected 1 or more, got {-(2**63)}"),
        (14, 6, "click_decay: expected a known decay, got 6"),
        (16, -1, "match_decay: expected a known decay, got -1"),
        (15, 0.0, "click_scale: expected more than 0, got 0"),
        (17, float("nan"), "match_scale: expected more than 0, got nan"),
        (18, -0.5, "distance_scale: expected 0 or more, got -0.5"),
        (18, float("nan"), "distance_scale: expected 0 or more, got nan"),
        (20, torch.zeros(2), "candidates: expected int64 (any,) on the CPU, got float32 (2,) on the CPU"),
        (21, torch.zeros(2).long(), "excluded: expected excluded_offsets with it, got one of them"),
    ],
)
def test_errors(position: int, value: object, message: str) -> None:
    arguments = [*sample_inputs(), 9, *EXPONENTIAL, None, None, None]
    arguments[position] = value
    with pytest.raises(RuntimeError) as caught:
        session_neighbours_topk(*arguments)
    assert str(caught.value).splitlines()[0] == message
