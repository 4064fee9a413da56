"""Places of repeated items against the definition, and lists with something added to the scores of some rows."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.ops import reference, session_repeats
from tagnn_fast.ops.session_repeats import plain_session_repeats
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.ops.test_target_attention_topk import sample_arguments, sorted_rows
from tests.support import CAPABILITIES, SESSIONS, assert_near, batch, capability, random_sessions, sample_graph

OP = torch.ops.tagnn_fast.session_repeats.default
BEST = torch.ops.tagnn_fast.target_attention_topk.default


def by_hand(sessions: list[list[int]], places: int, counts: int) -> tuple[list[list[int]], list[list[int]]]:
    rows, cells = ([[-1] * places for _ in sessions] for _ in range(2))
    for b, session in enumerate(sessions):
        recent = [item for item in session if item][::-1][:places]
        for place, item in enumerate(recent):
            if item not in recent[:place]:
                rows[b][place] = item - 1
                cells[b][place] = (min(recent.count(item), counts) - 1) * places + place
    return rows, cells


@pytest.mark.parametrize(("places", "counts"), [(1, 1), (3, 2), (10, 4), (64, 64)])
@pytest.mark.parametrize("name", SESSIONS)
def test_definition(name: str, places: int, counts: int) -> None:
    """Skipped clicks have no place, those behind the last session no session."""
    items, offsets = batch(SESSIONS[name])
    items = torch.cat([items, torch.tensor([4, 0, 4])])
    expected = by_hand(SESSIONS[name], places, counts)
    for function in (session_repeats, plain_session_repeats):
        rows, cells = function(items, offsets, places, counts)
        assert rows.shape == cells.shape == (len(SESSIONS[name]), places)
        assert (rows.tolist(), cells.tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_values(data: st.DataObject) -> None:
    """Nothing is read or written out of bounds, and cells are those of a table."""
    clicks, sessions = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 4))
    items, offsets = any_tensor(data, "cpu", clicks), any_tensor(data, "cpu", sessions + 1)
    rows, cells = session_repeats(items, offsets, 5, 3)
    checks.assert_equal_outputs(plain_session_repeats(items, offsets, 5, 3), (rows, cells))
    assert rows.shape == cells.shape == (sessions, 5)
    assert bool(((cells >= -1) & (cells < 15)).all())
    assert torch.equal(cells < 0, rows < 0)


def test_opcheck_and_script() -> None:
    arguments = *batch(random_sessions((7, 1, 30), items=9)), 10, 4
    torch.library.opcheck(OP, arguments)
    scripted = torch.jit.script(session_repeats)
    checks.assert_equal_outputs(checks.script_round_trip(scripted)(*arguments), session_repeats(*arguments))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3), "items: expected int64 (any,) on the CPU, got float32 (3,)"),
        (1, torch.zeros(0).long(), "offsets: expected at least one value, got 0"),
        (2, 0, "places: expected 1 to 64, got 0"),
        (3, 65, "counts: expected 1 to 64, got 65"),
    ],
)
def test_errors(position: int, value: object, message: str) -> None:
    arguments: list[object] = [*batch(SESSIONS["ragged"]), 10, 4]
    arguments[position] = value
    if position > 1:
        with pytest.raises(RuntimeError, match=f"^{re.escape(message)}"):
            plain_session_repeats(*arguments)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}"):
        OP(*arguments)


def sample_repeats(sessions: int, items: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows, some of them none or outside of the table, each once, and multiples of 1/4."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(items + 3, generator=generator)[:7] - 1 for _ in range(sessions)])
    return rows, (8 * torch.randn(rows.shape, generator=generator)).round().to(dtype) / 4


def with_repeats(scores: Tensor, rows: Tensor, logits: Tensor) -> Tensor:
    scores = scores.clone()
    for line, (own, added) in zip(scores, zip(rows.tolist(), logits, strict=True), strict=True):
        for row, value in zip(own, added, strict=True):
            if 0 <= row < line.shape[0]:
                line[row] += value
    return scores


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded_length", [None, 9])
@pytest.mark.parametrize("choose", [False, True])
@pytest.mark.parametrize("name", CAPABILITIES)
def test_lists(name: str, choose: bool, padded_length: int | None, dtype: torch.dtype) -> None:
    """Of many equal scores; with a bfloat16 table; without what is excluded or no candidate."""
    of_sessions = torch.float32 if dtype == torch.bfloat16 else dtype
    encoded, table = sample_arguments(sample_graph("ragged", padded_length), 60, of_sessions)
    sessions = encoded.session.shape[0]
    rows, logits = sample_repeats(sessions, 60, of_sessions)
    candidates = torch.arange(0, 70, 2) if choose else None
    excluded, ends = rows[:, :2].flatten(), torch.arange(0, 2 * sessions + 1, 2)
    scores = with_repeats(reference.target_attention_scores(encoded, table), rows, logits)
    left_out = rows[:, :2].tolist()

    def allowed(session: int, row: int) -> bool:
        return row not in left_out[session] and (not choose or row % 2 == 0)

    with capability(name):
        for k in (0, 1, 6, 80):
            arguments = table.to(dtype), k, candidates, excluded, ends, None, rows, logits
            best, found = ops.target_attention_topk(encoded, *arguments)
            kept = found >= 0
            assert kept.sum(1).tolist() == [min(k, sum(allowed(b, row) for row in range(60))) for b in range(sessions)]
            assert_near(best[kept], scores.gather(1, found.clamp(min=0))[kept], 1e-5)
            # Weights of the softmax are rounded: rows of one score may stand in another order than by the definition.
            expected = torch.tensor(sorted_rows(scores, k, allowed)).view(sessions, k)
            assert_near(best[kept], scores.gather(1, expected.clamp(min=0))[kept], 1e-5)


def test_screened_lists() -> None:
    """The screen leaves the lists as they are."""
    graph = sample_graph("ragged")
    torch.manual_seed(0)
    rows_of = (graph.num_nodes.shape[0], graph.node_items.shape[0], graph.node_items.shape[0], 20_000)
    session, keys, values, table = (torch.randn(rows, 16) for rows in rows_of)
    encoded = ops.encoded_sessions(session, keys, values, graph)
    plain = ops.target_attention_topk(encoded, table, 3)[1]
    rows = torch.cat([plain, torch.arange(100, 105).expand(plain.shape[0], -1)], 1)  # the best, and others
    logits = torch.randn(rows.shape) * 9
    screen = ops.item_screen(table)
    arguments = table, 20, None, None, None
    checks.assert_equal_outputs(
        ops.target_attention_topk(encoded, *arguments, screen, rows, logits),
        ops.target_attention_topk(encoded, *arguments, None, rows, logits),
    )
    scores = with_repeats(ops.target_attention_scores(encoded, table), rows, logits)
    best, found = ops.target_attention_topk(encoded, *arguments, screen, rows, logits)
    assert_near(best, scores.topk(20).values, 1e-5)
    assert_near(scores.gather(1, found), best, 1e-5)


def test_not_a_number_first() -> None:
    encoded, table = sample_arguments(sample_graph("ragged"), 40)
    rows = torch.full((encoded.session.shape[0], 1), 17)
    best, found = ops.target_attention_topk(
        encoded, table, 2, repeat_rows=rows, repeat_logits=torch.full_like(rows, torch.nan, dtype=torch.float64)
    )
    assert bool((found[:, 0] == 17).all())
    assert bool(best[:, 0].isnan().all())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_rows(data: st.DataObject) -> None:
    """Rows twice, or outside of the table: no row is listed twice, nothing is read out of bounds."""
    encoded, table = sample_arguments(sample_graph("ragged"), 12)
    sessions = encoded.session.shape[0]
    rows = any_tensor(data, "cpu", sessions, data.draw(st.integers(0, 4)))
    found = ops.target_attention_topk(
        encoded, table, 12, repeat_rows=rows, repeat_logits=torch.ones(rows.shape, dtype=torch.float64)
    )[1]
    assert all(sorted(line) == list(range(12)) for line in found.tolist())


def test_errors_of_lists() -> None:
    encoded, table = sample_arguments(sample_graph("ragged"), 12)
    sessions = encoded.session.shape[0]
    rows, logits = torch.zeros(sessions, 2).long(), torch.zeros(sessions, 2).double()
    for given_rows, given_logits, message in (
        (rows, None, "repeat_rows: expected repeat_logits with it, got one"),
        (rows[1:], logits, "repeat_rows: expected int64"),
        (rows, logits.float(), "repeat_logits: expected float64"),
        (rows, logits[:, 1:], "repeat_logits: expected float64"),
    ):
        with pytest.raises(RuntimeError, match=f"^{re.escape(message)}"):
            BEST(*encoded, table, 3, None, None, None, 0, None, given_rows, given_logits)
