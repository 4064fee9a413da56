"""The best k items against sorting all scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.ops import EncodedSessions, SessionGraph, encoded_sessions, encoded_without_nodes, reference
from tests.support import CAPABILITIES, DEVICES, assert_near, capability, random_tensors, sample_graph

IMPLEMENTATIONS = {"native": ops, "plain": reference}
# The definition's own scores differ from call to call on a GPU, where PyTorch adds atomically.
EVERYWHERE = [(name, device) for name in IMPLEMENTATIONS for device in DEVICES if (name, device) != ("plain", "cuda")]


def sample_arguments(
    graph: SessionGraph, items: int, dtype: torch.dtype = torch.float64
) -> tuple[EncodedSessions, Tensor]:
    """Multiples of 1/4, whose products are exact: equal items score equally whatever the order of sums."""
    slots, sessions = graph.node_items.shape[0], graph.num_nodes.shape[0]
    shapes = [(sessions, 6), (slots, 6), (slots, 6), (items, 6)]
    values = random_tensors(shapes, dtype, str(graph.click_counts.device))
    session, keys, states, table = [(2 * value).round() / 4 for value in values]
    return encoded_sessions(session, keys, states, graph), table


def sorted_rows(scores: Tensor, k: int, allowed: Callable[[int, int], bool]) -> list[list[int]]:
    """Rows of each session by score, equal ones by row, filled up with -1."""
    lists = []
    for session, line in enumerate(scores.tolist()):
        rows = [row for row in range(len(line)) if allowed(session, row)]
        lists.append((sorted(rows, key=lambda row, line=line: (-line[row], row)) + k * [-1])[:k])
    return lists


def check(actual: tuple[Tensor, Tensor], scores: Tensor, expected: list[list[int]]) -> None:
    best, rows = actual
    assert rows.tolist() == expected
    found = rows >= 0
    assert_near(best[found], scores.gather(1, rows.clamp(min=0))[found], 1e-6)
    assert bool((best[~found] == -torch.inf).all())


@pytest.mark.parametrize(("implementation", "device"), EVERYWHERE)
@pytest.mark.parametrize("k", [1, 6, 20, 500, 1000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_all_items(implementation: str, k: int, dtype: torch.dtype, device: str) -> None:
    """With many equal scores."""
    graph = sample_graph("ragged", 9, device)
    arguments = sample_arguments(graph, 700, dtype)
    arguments[-1][100:400] = arguments[-1][:300].clone()
    scores = IMPLEMENTATIONS[implementation].target_attention_scores(*arguments)
    check(
        IMPLEMENTATIONS[implementation].target_attention_topk(*arguments, k),
        scores,
        sorted_rows(scores, k, lambda session, row: True),
    )


@pytest.mark.parametrize(("implementation", "device"), EVERYWHERE)
@pytest.mark.parametrize("k", [3, 40])
def test_candidates_and_exclusion(implementation: str, k: int, device: str) -> None:
    graph = sample_graph("ragged", None, device)
    arguments = sample_arguments(graph, 300)
    scores = ops.target_attention_scores(*arguments)
    candidates = torch.tensor([299, 7, 7, 0, *range(100, 130), -5, 300, 2**62], device=device)
    allowed = set(candidates.tolist())
    expected = sorted_rows(scores, k, lambda session, row: row in allowed)
    check(IMPLEMENTATIONS[implementation].target_attention_topk(*arguments, k, candidates), scores, expected)

    # Each session goes without the best three it would have had, and rows outside the table do not matter.
    excluded = torch.cat([torch.tensor(expected)[:, :3], torch.tensor([[-1, 300, 2**62]] * 8)], 1).to(device)
    offsets = 6 * torch.arange(9, device=device)
    left = sorted_rows(scores, k, lambda session, row: row in allowed and row not in excluded[session].tolist())
    check(
        IMPLEMENTATIONS[implementation].target_attention_topk(*arguments, k, candidates, excluded.flatten(), offsets),
        scores,
        left,
    )
    many = excluded.repeat(1, 4).flip(1).flatten()  # as many as are looked up in order
    check(
        IMPLEMENTATIONS[implementation].target_attention_topk(*arguments, k, candidates, many, 4 * offsets),
        scores,
        left,
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_no_candidates(implementation: str, device: str) -> None:
    arguments = sample_arguments(sample_graph("ragged", None, device), 30)
    best, rows = IMPLEMENTATIONS[implementation].target_attention_topk(
        *arguments, 2, torch.tensor([], dtype=torch.int64, device=device)
    )
    assert rows.tolist() == [[-1, -1]] * 8
    assert bool((best == -torch.inf).all())


@pytest.mark.parametrize("name", CAPABILITIES)
def test_capabilities(name: str) -> None:
    """The same lists from every instruction set, over several tiles and lists that overflow."""
    graph = sample_graph("ragged", 9)
    arguments = sample_arguments(graph, 5000, torch.float32)
    scores = ops.target_attention_scores(*arguments)
    with capability(name):
        check(ops.target_attention_topk(*arguments, 20), scores, sorted_rows(scores, 20, lambda session, row: True))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads(threads: int) -> None:
    """A single session's items are shared out; the lists do not depend on how."""
    graph = sample_graph("one click")
    arguments = sample_arguments(graph, 20_000, torch.float32)
    expected = ops.target_attention_topk(*arguments, 50)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for actual, value in zip(ops.target_attention_topk(*arguments, 50), expected, strict=True):
            assert torch.equal(actual, value)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_infinite_scores(implementation: str, device: str) -> None:
    """Items that score minus infinity are still items."""
    session, table = torch.tensor([[1.0]]), torch.tensor([[2.0], [-torch.inf], [3.0], [torch.inf]])
    encoded = encoded_without_nodes(session.to(device))
    best, rows = IMPLEMENTATIONS[implementation].target_attention_topk(encoded, table.to(device), 4)
    assert rows.tolist() == [[3, 2, 0, 1]]
    assert best.tolist() == [[torch.inf, 3.0, 2.0, -torch.inf]]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((-1,), "k: expected 0 or more, got -1"),
        ((1, torch.zeros(2)), "candidates: expected int64 (any,) on the CPU, got float32 (2,)"),
        ((1, None, torch.zeros(2).long()), "excluded: expected excluded_offsets with it, got one of them"),
        (
            (1, None, torch.zeros(2).long(), torch.zeros(2).long()),
            "excluded_offsets: expected int64 (4,) on the CPU, got int64 (2,)",
        ),
    ],
)
def test_errors(extra: tuple[object, ...], message: str) -> None:
    with pytest.raises(RuntimeError) as error:
        ops.target_attention_topk(*sample_arguments(sample_graph("one click"), 9), *extra)
    assert message in str(error.value)
