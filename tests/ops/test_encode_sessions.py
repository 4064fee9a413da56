"""encode_sessions against its definition, and against the ops that it takes the place of."""

from __future__ import annotations

import re
from typing import Any, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tagnn_fast
from tagnn_fast import ops
from tagnn_fast.nn.unit_rows import unit_rows
from tagnn_fast.ops import (
    AttentionParameters,
    EncodedSessions,
    PropagationParameters,
    ReadoutParameters,
    encode_sessions,
    reference,
)
from tagnn_fast.ops.graph import places_from_the_end
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.ops.test_target_attention import SANITIZED
from tests.support import CAPABILITIES, SESSIONS, assert_near, batch, capability, random_sessions

OP = torch.ops.tagnn_fast.encode_sessions.default
ITEMS = 600
Parameters = tuple[
    Tensor,
    PropagationParameters,
    Optional[AttentionParameters],
    ReadoutParameters,
    Tensor,
    Optional[Tensor],
    Optional[tuple[float, float]],
]


def sample_parameters(
    hidden: int,
    dtype: torch.dtype = torch.float64,
    attention: bool = True,
    hybrid: bool = False,
    rounds: int = 1,
    normalize: bool = True,
    recency: bool = False,
    lengths: bool = False,
) -> Parameters:
    """Item vectors and the encoder's parameters."""
    square = (hidden, hidden)
    shapes = [
        *((ITEMS, hidden), (5 * hidden, hidden), (5 * hidden,), (2 * hidden,), (3 * hidden, 2 * hidden), (3 * hidden,)),
        *((3 * hidden, hidden), (3 * hidden,), square, (hidden,), (hidden,), (hidden,)),
        *(square, (hidden,), square, (hidden,), (hidden,), (hidden, 2 * hidden), (hidden,), square),
        (3, hidden),
    ]
    vectors, *rest = checks.encoder_inputs(shapes, dtype, "cpu")
    heads = 2 if hidden % 2 == 0 else 1
    hybrids = rest[16:18] if hybrid else (None, None)
    return (
        vectors,
        PropagationParameters(*rest[:5], rounds),
        AttentionParameters(*rest[5:11], heads) if attention else None,
        ReadoutParameters(*rest[11:16], normalize, *hybrids),
        rest[18],
        rest[19] if recency else None,
        (6.5, 0.75) if lengths else None,
    )


def one_after_the_other(
    items: Tensor,
    offsets: Tensor,
    padded_length: int | None,
    item_vectors: Tensor,
    propagation: PropagationParameters,
    attention: AttentionParameters | None,
    readout: ReadoutParameters,
    target_weight: Tensor,
    recency: Tensor | None,
    lengths: tuple[float, float] | None,
) -> EncodedSessions:
    """By the ops that it takes the place of."""
    graph = ops.session_graph(items, offsets, padded_length)
    nodes = ops.gated_propagation(item_vectors[graph.node_items], graph, *propagation)
    if recency is not None:
        nodes = nodes + recency[places_from_the_end(graph, recency.shape[0])]
    if attention is not None:
        nodes = ops.session_attention(nodes, graph, *attention)
    session, _ = ops.session_readout(nodes, graph, *readout[:6])
    keys = nodes @ target_weight.t()
    if lengths is not None:
        session, nodes = lengths[0] * unit_rows(session), lengths[1] * unit_rows(nodes)
    return ops.encoded_sessions(session, keys, nodes, graph)


def as_double(parameters: Parameters) -> Parameters:
    def convert(values: tuple[object, ...]) -> list[object]:
        return [value.double() if isinstance(value, Tensor) else value for value in values]

    vectors, propagation, attention, readout, *rest = parameters
    return (
        vectors.double(),
        PropagationParameters(*convert(propagation)),  # type: ignore[arg-type]
        None if attention is None else AttentionParameters(*convert(attention)),  # type: ignore[arg-type]
        ReadoutParameters(*convert(readout)),  # type: ignore[arg-type]
        *convert(rest),  # type: ignore[arg-type]
    )


def assert_definition(items: Tensor, offsets: Tensor, padded_length: int | None, parameters: Parameters) -> None:
    actual = encode_sessions(items, offsets, padded_length, *parameters)
    expected = reference.encode_sessions(items, offsets, padded_length, *as_double(parameters))
    for value, other in zip(actual, expected, strict=True):
        if value.dtype == torch.int64:
            assert torch.equal(value, other)
        else:
            assert_near(value, other, 1e-5 if value.dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hidden", [1, 7, 100])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_equals_reference(name: str, padded_length: int | None, hidden: int, dtype: torch.dtype) -> None:
    assert_definition(*batch(SESSIONS[name]), padded_length, sample_parameters(hidden, dtype))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("hybrid", [True, False])
@pytest.mark.parametrize(("rounds", "normalize"), [(1, False), (3, True)])
@pytest.mark.parametrize("name", ["ragged", "skipped clicks"])
def test_options(name: str, rounds: int, normalize: bool, hybrid: bool, attention: bool) -> None:
    parameters = sample_parameters(12, attention=attention, hybrid=hybrid, rounds=rounds, normalize=normalize)
    assert_definition(*batch(SESSIONS[name]), 5, parameters)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("name", SESSIONS)
def test_what_recipes_add(name: str, attention: bool, padded_length: int | None, dtype: torch.dtype) -> None:
    """Recency in three places, and lengths of what is scored; each alone and both."""
    for recency, lengths in ((True, False), (False, True), (True, True)):
        parameters = sample_parameters(12, dtype, attention=attention, hybrid=True, recency=recency, lengths=lengths)
        assert_definition(*batch(SESSIONS[name]), padded_length, parameters)


@pytest.mark.parametrize("padded_length", [None, 5])
@pytest.mark.parametrize("name", SESSIONS)
def test_same_bits_as_the_ops_one_after_the_other(name: str, padded_length: int | None) -> None:
    """Of few rows, to rounding."""
    arguments = *batch(SESSIONS[name]), padded_length, *sample_parameters(100, torch.float32)
    actual, expected = encode_sessions(*arguments), one_after_the_other(*arguments)
    few = max(expected.keys.shape[0], expected.session.shape[0]) <= 8
    for field in EncodedSessions._fields:
        value, other = getattr(actual, field), getattr(expected, field)
        if few and value.dtype == torch.float32:
            assert_near(value, other, 1e-6)
        else:
            assert torch.equal(value, other), field


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hidden", [4, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("name", CAPABILITIES)
def test_few_rows(name: str, hidden: int, dtype: torch.dtype) -> None:
    """Products of few rows are our own, of more PyTorch's, with every rest of a vector."""
    parameters = sample_parameters(hidden, dtype)
    with capability(name):
        for clicks in range(1, 11):
            assert_definition(*batch(random_sessions((clicks,), ITEMS - 1)), None, parameters)


@pytest.mark.parametrize("clicks", [3, 30])
def test_strided_parameters(clicks: int) -> None:
    vectors, propagation, attention, readout, target, recency, lengths = sample_parameters(
        20, recency=True, lengths=True
    )
    assert recency is not None

    def strided(value: Tensor) -> Tensor:
        return torch.stack([value, torch.full_like(value, torch.nan)], -1)[..., 0]

    vectors, target = strided(vectors), target.t().contiguous().t()
    propagation = propagation._replace(**{k: strided(v) for k, v in propagation._asdict().items() if k != "rounds"})
    readout = readout._replace(key_weight=readout.key_weight.t().contiguous().t(), key_bias=strided(readout.key_bias))
    sessions = batch(random_sessions((clicks,), ITEMS - 1))
    rest = target, strided(recency), lengths
    assert_definition(*sessions, None, (vectors, propagation, attention, readout, *rest))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(threads: int) -> None:
    parameters = sample_parameters(32, torch.float32, recency=True, lengths=True)
    arguments = *batch(random_sessions(range(1, 200), ITEMS - 1)), None, *parameters
    expected = one_after_the_other(*arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = encode_sessions(*arguments)
    finally:
        torch.set_num_threads(before)
    assert_near(actual.session, expected.session, 1e-5)
    assert_near(actual.keys, expected.keys, 1e-5)


def flat(parameters: Parameters) -> tuple[object, ...]:
    """As the op takes them, after the padded length."""
    vectors, propagation, attention, readout, target, recency, lengths = parameters
    of_attention = (None,) * 6 + (1,) if attention is None else attention
    return vectors, *propagation, *of_attention, *readout, target, recency, *(lengths or (None, None))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("name", ["ragged", "empty batch"])
def test_opcheck(name: str, attention: bool) -> None:
    recipe = {"recency": attention, "lengths": attention}
    parameters = flat(sample_parameters(6, torch.float32, attention=attention, hybrid=attention, **recipe))
    for padded_length in (None, 5):
        torch.library.opcheck(OP, (*batch(SESSIONS[name]), padded_length, *parameters))


def test_autocast() -> None:
    """Computes in float32 whatever autocast says, as the ops that it takes the place of."""
    arguments = *batch(SESSIONS["ragged"]), None, *sample_parameters(24, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        actual = encode_sessions(*arguments)
    checks.assert_equal_outputs(tuple(actual), tuple(encode_sessions(*arguments)))


def test_other_devices_are_refused_in_our_own_words() -> None:
    inputs = [value.to("meta") for value in batch(SESSIONS["ragged"])]
    on_a_gpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError, match=r"^items: expected int64 \(any,\) on the CPU, got .* on another device"):
        OP.redispatch(on_a_gpu, *inputs, None, *flat(sample_parameters(4)))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_values(data: st.DataObject) -> None:
    """Items without a row are refused; whatever else comes, nothing is read or written out of bounds."""
    clicks, sessions = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 4))
    items, offsets = any_tensor(data, "cpu", clicks), any_tensor(data, "cpu", sessions + 1)
    padded_length = data.draw(st.one_of(st.none(), st.integers(0, 9)))
    parameters = sample_parameters(3, recency=data.draw(st.booleans()), lengths=data.draw(st.booleans()))
    nodes = reference.session_graph(items, offsets, padded_length)[0]
    if bool(((nodes < 0) | (nodes >= ITEMS)).any()):
        with pytest.raises(RuntimeError, match=r"^items: expected rows of item_vectors, 0\.\.599, got "):
            encode_sessions(items, offsets, padded_length, *parameters)
    else:
        assert_definition(items, offsets, padded_length, parameters)


def test_items_without_a_row_on_several_threads() -> None:
    """What a thread finds is said as it is."""
    items, offsets = batch(random_sessions((4_000, 4_000), items=ITEMS - 1))
    items[7_000] = ITEMS
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match=r"^items: expected rows of item_vectors, 0\.\.599, got 600"):
            encode_sessions(items, offsets, None, *sample_parameters(32))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3), "items: expected int64 (any,) on the CPU, got float32 (3,)"),
        (3, torch.zeros(3, 4).bfloat16(), "item_vectors: expected float32 or float64, got bfloat16"),
        (9, 0, "steps: expected 1 or more, got 0"),
        (16, 3, "heads: expected a divisor of hidden, got 3"),
        (10, None, "qkv_weight: expected all four with out_bias or none, got some"),
        (24, torch.zeros(4).double(), "hybrid_bias: expected with hybrid_weight, and none without; got one of them"),
        (26, torch.zeros(0, 4).double(), "recency: expected a place or more, got none"),
        (26, torch.zeros(3, 4), "recency: expected float64 (any, 4) on the CPU, got float32 (3, 4)"),
        (25, torch.zeros(4, 3).double(), "target_weight: expected float64 (4, 4) on the CPU, got float64 (4, 3)"),
    ],
)
def test_errors(position: int, value: object, message: str) -> None:
    arguments: list[object] = [*batch(SESSIONS["ragged"]), None, *flat(sample_parameters(4))]
    arguments[position] = value
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}"):
        OP(*arguments)


@pytest.mark.skipif(SANITIZED, reason="sanitizers end the process there")
@pytest.mark.parametrize("rounds", [10**14, 2**60, 2**62])
def test_more_rounds_than_memory(rounds: int) -> None:
    vectors, propagation, *rest = sample_parameters(4)
    with pytest.raises(RuntimeError, match="^out of memory: expected enough for"):
        encode_sessions(*batch(SESSIONS["ragged"]), None, vectors, propagation._replace(rounds=rounds), *rest)


@pytest.mark.parametrize("with_recipe", [False, True])
def test_script_and_export(with_recipe: bool) -> None:
    """In a model, as it is exported: what the program computes on other sessions than those it was made with."""
    torch.manual_seed(0)
    recipe: dict[str, Any] = {"cosine_scale": 12.0, "recency": "nodes"} if with_recipe else {}
    config = tagnn_fast.ModelConfig(num_items=ITEMS, hidden_size=12, hybrid=True, **recipe)
    model = tagnn_fast.TAGNNPP(config).eval().settled()
    example, other = batch(random_sessions((3, 4, 2), ITEMS)), batch(random_sessions((1, 9, 30), ITEMS, seed=1))
    clicks, count = torch.export.Dim("clicks", min=2), torch.export.Dim("count", min=3)
    with torch.no_grad():
        expected = model(*other)
        program = torch.export.export(model, example, dynamic_shapes=({0: clicks}, {0: count}))
        assert "tagnn_fast.encode_sessions" in str(program.graph)
        checks.assert_equal_outputs(program.module()(*other), expected)
        checks.assert_equal_outputs(checks.script_round_trip(torch.jit.script(model))(*other), expected)
    assert_near(model(*other).detach(), expected, 1e-5)  # with gradients: the ops one after the other
