"""The item screen against its definition, and lists made with it against those of all scores: the same to the bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.ops import EncodedSessions, encoded_sessions, encoded_without_nodes, reference_screen, session_graph
from tagnn_fast.ops.item_screen import FEWEST_ITEMS, MOST_HIDDEN
from tests.ops import checks
from tests.support import CAPABILITIES, ROOT, batch, capability, random_sessions

OPS = torch.ops.tagnn_fast
ITEMS = 8200  # so many are screened


def vectors(kind: str, items: int, hidden: int, seed: int) -> Tensor:
    """Item vectors, float32 (items, hidden)."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(items, hidden, generator=generator)
    if kind == "equal ones":  # and what they score is exact: many ties
        table = (2 * table).round() / 4
        table[items // 3 :] = table[: items - items // 3].clone()
    elif kind == "of any length":
        table *= 10 ** (12 * torch.rand(items, 1, generator=generator) - 6)
    elif kind == "one long unit":  # whose rounding hides all others
        table[:, 0] *= 1000
    elif kind == "all alike":  # no bound tells them apart
        table = 1 + 1e-6 * table
    elif kind == "vanishing":
        table *= 10 ** (-40 - 5 * torch.rand(items, 1, generator=generator))
    elif kind == "not finite":
        odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 3e38, 1e20])
        places = torch.randint(items * hidden, (3,), generator=generator)
        table.flatten()[places] = odd[torch.randint(len(odd), (3,), generator=generator)]
    elif kind == "long":
        table[::7] *= 1e6
    return table


KINDS = ["normal", "equal ones", "of any length", "one long unit", "all alike", "vanishing", "not finite", "long"]


def sessions(
    lengths: list[int], hidden: int, seed: int, sharp: float = 3.0, padded: int | None = None
) -> EncodedSessions:
    """Of so many clicks each; attention is the sharper the longer its keys."""
    graph = session_graph(*batch(random_sessions(lengths, 50, seed)), padded)
    generator = torch.Generator().manual_seed(seed)
    slots = graph.node_items.shape[0]
    session, keys, states = (torch.randn(rows, hidden, generator=generator) for rows in (len(lengths), slots, slots))
    return encoded_sessions(session, sharp * keys, states, graph)


def assert_same_lists(encoded: EncodedSessions, table: Tensor, screen: Tensor, k: int, *excluded: Tensor) -> None:
    choice = (None, *excluded) if excluded else ()
    expected = ops.target_attention_topk(encoded, table, k, *choice)
    actual = ops.target_attention_topk(encoded, table, k, *(choice or (None, None, None)), screen)
    assert torch.equal(actual[1], expected[1])
    assert torch.equal(actual[0].nan_to_num(nan=1.25), expected[0].nan_to_num(nan=1.25))


@pytest.mark.parametrize("hidden", [1, 3, 4, 33, 100, 1024])
@pytest.mark.parametrize("kind", KINDS)
def test_definition(kind: str, hidden: int) -> None:
    table = vectors(kind, 83, hidden, 0)
    for given_table in (table, table.bfloat16()):
        actual, expected = ops.item_screen(given_table), reference_screen.item_screen(given_table)
        assert torch.equal(actual[:, 256:], expected[:, 256:])
        assert torch.equal(actual[:, :128], expected[:, :128])
        errors, defined = (screen[:, 128:256].contiguous().view(torch.float32) for screen in (actual, expected))
        torch.testing.assert_close(errors, defined, rtol=1e-6, atol=0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", CAPABILITIES)
def test_lists_are_those_without(name: str, data: st.DataObject) -> None:
    hidden = data.draw(st.sampled_from([1, 3, 7, 16, 33, 100]))
    lengths = data.draw(st.one_of(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.just([1] * 40)))
    seed, sharp = data.draw(st.integers(0, 1000)), data.draw(st.sampled_from([0.0, 1.0, 10.0, 1e4]))
    encoded = sessions(lengths, hidden, seed, sharp, data.draw(st.sampled_from([None, 6])))
    table = vectors(data.draw(st.sampled_from(KINDS)), ITEMS + data.draw(st.integers(0, 40)), hidden, seed + 1)
    if data.draw(st.booleans()):
        table = table.bfloat16()
    excluded = ()
    if data.draw(st.booleans()):
        rows = ops.target_attention_topk(encoded, table, 30)[1]  # what it would have got
        excluded = rows.flatten(), 30 * torch.arange(len(lengths) + 1)
    with capability(name):
        assert_same_lists(encoded, table, ops.item_screen(table), data.draw(st.sampled_from([1, 20, 150])), *excluded)


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1e5, 1e12, 1e30])
def test_sessions_of_any_length(size: float) -> None:
    encoded, table = sessions([1, 4, 7], 24, 3), vectors("normal", ITEMS, 24, 4)
    scaled = encoded._replace(session=size * encoded.session, values=size * encoded.values)
    assert_same_lists(scaled, table, ops.item_screen(table), 20)
    assert_same_lists(encoded._replace(keys=size * encoded.keys), table, ops.item_screen(table), 20)
    for value in (torch.nan, torch.inf):
        encoded.session[1, 2] = value
        assert_same_lists(encoded, table, ops.item_screen(table), 20)


@pytest.mark.filterwarnings("ignore:tagnn_fast")  # where float32 is as fast
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_other_precisions(precision: str) -> None:
    encoded, table = sessions([4, 9, 3], 100, 0), vectors("normal", ITEMS, 100, 1)
    torch.set_float32_matmul_precision(precision)
    try:
        assert_same_lists(encoded, table, ops.item_screen(table), 20)
        assert_same_lists(sessions([4], 100, 0), table, ops.item_screen(table), 20)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(threads: int) -> None:
    encoded, table = sessions([4, 1], 100, 0), vectors("normal", 20_000, 100, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same_lists(encoded, table, ops.item_screen(table), 20)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_most_items_are_not_read(name: str) -> None:
    """What the screen leaves out is not looked at: an item whose vector has become the best since is not found."""
    encoded, table = sessions([3], 100, 5, sharp=10.0), vectors("normal", ITEMS, 100, 6)
    worst = int(ops.target_attention_scores(encoded, table).argmin())
    with capability(name):
        screen = ops.item_screen(table)
        table[worst] = torch.nan
        assert int(ops.target_attention_topk(encoded, table, 5)[1][0, 0]) == worst
        assert worst not in ops.target_attention_topk(encoded, table, 5, screen=screen)[1].tolist()[0]


def test_small_tables_and_candidates_go_without() -> None:
    encoded, table = sessions([4, 2], 20, 0), vectors("equal ones", 300, 20, 1)
    screen = ops.item_screen(table)
    assert_same_lists(encoded, table, screen, 300)
    candidates = torch.arange(100, 200)
    expected = ops.target_attention_topk(encoded, table, 5, candidates)
    checks.assert_equal_outputs(ops.target_attention_topk(encoded, table, 5, candidates, screen=screen), expected)
    none = encoded_without_nodes(table[:0])
    assert ops.target_attention_topk(none, table, 5, screen=screen)[1].shape == (0, 5)
    assert ops.item_screen(table[:0]).shape == (0, 32 * 28)


def test_float64_goes_without() -> None:
    """A model that is taken to float64 may still hold the screen of its table in float32."""
    encoded, table = sessions([4, 2], 20, 0), vectors("normal", ITEMS, 20, 1)
    double = EncodedSessions(*(value.double() if value.is_floating_point() else value for value in encoded))
    expected = ops.target_attention_topk(double, table.double(), 5)
    actual = ops.target_attention_topk(double, table.double(), 5, screen=ops.item_screen(table))
    checks.assert_equal_outputs(actual, expected)


def test_what_is_screened_is_what_a_screen_is_made_for() -> None:
    header = (ROOT / "csrc" / "cpu" / "target_attention_screen.h").read_text()
    assert f"kScreenedItems = {FEWEST_ITEMS};" in header
    header = (ROOT / "csrc" / "cpu" / "item_screen_kernel.h").read_text()
    assert f"kMostScreenedUnits = {MOST_HIDDEN};" in header


def test_opcheck() -> None:
    encoded, table = sessions([4, 2], 20, 0), vectors("normal", ITEMS, 20, 1)
    torch.library.opcheck(OPS.item_screen.default, (table,))
    torch.library.opcheck(OPS.target_attention_topk.default, (*encoded, table, 5), {"screen": OPS.item_screen(table)})


def test_scripted() -> None:
    def best(table: Tensor, session: Tensor) -> Tensor:
        return ops.target_attention_topk(encoded_without_nodes(session), table, 5, screen=ops.item_screen(table))[1]

    table = vectors("normal", ITEMS, 8, 1)
    scripted = checks.script_round_trip(torch.jit.script(best))
    assert torch.equal(scripted(table, table[:2]), best(table, table[:2]))


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        (torch.zeros(257, 896), "screen: expected uint8 (257, 896) on the CPU, got float32 (257, 896)"),
        (torch.zeros(256, 896).byte(), "screen: expected uint8 (257, 896) on the CPU, got uint8 (256, 896)"),
        (
            ops.item_screen(vectors("normal", ITEMS, 20, 2)),
            "screen: expected what item_screen makes of this table, got that of other item vectors",
        ),
    ],
)
def test_errors(screen: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError) as error:
        ops.target_attention_topk(sessions([4, 2], 20, 0), vectors("normal", ITEMS, 20, 1), 5, screen=screen)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(3, 4).double(), "table: expected float32 (any, any) on the CPU, got float64 (3, 4)"),
        (torch.zeros(3, 1025), "table: expected 1 to 1024 hidden units, got 1025"),
    ],
)
def test_table_errors(table: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError) as error:
        ops.item_screen(table)
    assert message in str(error.value)
