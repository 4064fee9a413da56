"""Target attention of inputs that are rare: transposed, outside the table, too large for the memory."""

from __future__ import annotations

import pytest
import torch

from tagnn_fast import ops
from tagnn_fast.memory import is_out_of_memory
from tagnn_fast.ops import encoded_sessions, reference
from tests.ops.test_target_attention import OPS, SANITIZED, sample_inputs, sample_targets
from tests.support import CAPABILITIES, assert_near, capability, sample_graph


def test_transposed_inputs() -> None:
    """Gradients are contiguous whatever their inputs are, and compilers are told so."""
    graph = sample_graph("ragged", 5)
    inputs = [value.t().contiguous().t() for value in sample_inputs(graph, 4, 9)]
    session, keys, values, table = inputs
    arguments = *encoded_sessions(session, keys, values, graph), table
    torch.library.opcheck(
        OPS.target_attention_scores_backward.default, (OPS.target_attention_scores(*arguments), *arguments)
    )
    targets = sample_targets(graph, 9)
    backward = (*OPS.target_attention_cross_entropy(*arguments, targets)[:1], *arguments, targets)
    normalizer = OPS.target_attention_cross_entropy(*arguments, targets)[1]
    torch.library.opcheck(OPS.target_attention_cross_entropy_backward.default, (*backward, normalizer))


def test_definition_of_odd_values() -> None:
    """Targets outside the table give NaN, clicks counted below 0 are none: as the kernels have it."""
    graph = sample_graph("ragged", 5)
    session, keys, values, table = sample_inputs(graph, 4, 9)
    encoded = encoded_sessions(session, keys, values, graph)
    encoded = encoded._replace(click_counts=encoded.click_counts - 2)
    targets = sample_targets(graph, 9)
    targets[0], targets[-1] = -1, 9
    expected = ops.target_attention_cross_entropy(encoded, table, targets)
    assert expected.isnan().nonzero().flatten().tolist() == [0, targets.shape[0] - 1]
    actual = reference.target_attention_cross_entropy(encoded, table, targets)
    assert_near(actual.nan_to_num(), expected.nan_to_num(), 1e-12)


def test_targets_outside_the_table_give_no_gradient() -> None:
    graph = sample_graph("ragged", 5)
    inputs = [value.requires_grad_() for value in sample_inputs(graph, 4, 9)]
    session, keys, values, table = inputs
    targets = sample_targets(graph, 9)
    targets[0], targets[-1] = -1, 9
    encoded = encoded_sessions(session, keys, values, graph)
    found, expected = (
        torch.autograd.grad(loss(encoded, table, targets).sum(), inputs, retain_graph=True)
        for loss in (ops.target_attention_cross_entropy, reference.target_attention_cross_entropy)
    )
    for value, other in zip(found, expected, strict=True):
        assert_near(value, other, 1e-10)
    assert not bool(found[0][targets == -1].any())


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_any_nan_stays_one(bits: int, name: str) -> None:
    """Whatever its other bits are, of which there are also some where a number is damaged."""
    graph = sample_graph("ragged", None)
    inputs = [value.float() for value in sample_inputs(graph, 4, 9)]
    nan = torch.tensor([bits], dtype=torch.uint32).view(torch.float32)
    targets = sample_targets(graph, 9)
    with capability(name):
        for place in (1, 2):  # of keys and values
            session, *rest, table = [value.clone() for value in inputs]
            rest[place - 1][0, 0] = nan[0]
            encoded = encoded_sessions(session, *rest, graph)
            assert bool(OPS.target_attention_scores(*encoded, table)[0].isnan().all())
            assert bool(OPS.target_attention_cross_entropy(*encoded, table, targets)[0][0].isnan())
        session, keys, values, table = inputs
        table = table.clone()
        table[2, 1] = nan[0]
        assert bool(
            ops.target_attention_cross_entropy(encoded_sessions(session, keys, values, graph), table, targets)
            .isnan()
            .all()
        )


@pytest.mark.skipif(SANITIZED, reason="sanitizers end the process there")
def test_too_large_for_the_memory() -> None:
    """Is said in a line that names the size."""
    sessions, hidden = 10_000_000, 1
    offsets = torch.zeros(sessions + 1, dtype=torch.int64)
    nothing = torch.zeros(0, hidden)
    arguments = torch.zeros(sessions, hidden), nothing, nothing, offsets[:0], offsets[1:], offsets
    with pytest.raises(
        RuntimeError, match=r"^out of memory: expected enough for float32 \(10000000, 1000000\)"
    ) as error:
        OPS.target_attention_scores(*arguments, torch.zeros(1_000_000, hidden))
    assert is_out_of_memory(error.value)
