"""Target attention with products of bfloat16 numbers, on every instruction set that has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.ops import EncodedSessions, encoded_sessions, library
from tests.ops import checks
from tests.ops.any_values import any_tensor
from tests.ops.test_target_attention import losses_of, sample_inputs, sample_targets, scores_of
from tests.support import (
    CAPABILITIES,
    SESSIONS,
    assert_near,
    capability,
    matmul_precision,
    random_tensors,
    sample_graph,
)

OPS = torch.ops.tagnn_fast
PRECISIONS = {"highest": 0, "high": 1, "medium": 2}
BOUNDS = {"highest": 1e-5, "high": 1e-4, "medium": 1e-2}
ROUNDING = {"high": ("amx",), "medium": ("avx512_bf16", "amx")}  # who rounds


@pytest.fixture(params=CAPABILITIES, autouse=True)
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    with capability(request.param), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # instruction sets without such products say so
        yield request.param


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("hidden", "items"), [(7, 110), (100, 203), (150, 96)])
@pytest.mark.parametrize("padded_length", [None, 69])
@pytest.mark.parametrize("name", ["ragged", "285 clicks", "empty session", "empty batch"])
def test_accuracy(name: str, padded_length: int | None, hidden: int, items: int, precision: str) -> None:
    """On the scale of the largest output and the largest gradient."""
    graph = sample_graph(name, padded_length)
    inputs = [value / 2 for value in sample_inputs(graph, hidden, items)]
    for function in (scores_of(graph), losses_of(graph, items)):
        output, *gradients = checks.outputs_and_gradients(function, inputs)
        with matmul_precision(precision):
            rounded, *rounded_gradients = checks.outputs_and_gradients(function, [value.float() for value in inputs])
        assert_near(rounded, output, BOUNDS[precision])
        largest = max((gradient.abs().max().item() for gradient in gradients if gradient.numel()), default=1.0)
        for value, expected in zip(rounded_gradients, gradients, strict=True):
            assert_near(value, expected, BOUNDS[precision], largest)


def integers(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(-8, 9, shape, generator=generator).float()


@settings(max_examples=60, deadline=None)
@given(
    sessions=st.one_of(st.sampled_from([15, 16, 17, 95, 96, 97, 192]), st.integers(1, 120)),
    hidden=st.one_of(st.sampled_from([1, 15, 16, 17, 31, 32, 33, 64, 100]), st.integers(1, 70)),
    items=st.one_of(st.sampled_from([1, 79, 80, 81, 95, 96, 97, 192, 200]), st.integers(1, 130)),
    precision=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_small_integers_are_exact(sessions: int, hidden: int, items: int, precision: int, seed: int) -> None:
    """Sessions of one node are one row: scores and gradients are plain products, of numbers that bfloat16 holds."""
    generator = torch.Generator().manual_seed(seed)
    session, keys, values = (integers(generator, sessions, hidden) for _ in range(3))
    table, grad = integers(generator, items, hidden), integers(generator, sessions, items)
    clicks, padding = torch.ones(sessions, dtype=torch.int64), torch.zeros(sessions, dtype=torch.int64)
    arguments = (session, keys, values, clicks, padding, torch.arange(sessions + 1), table)
    rows = session + values
    assert torch.equal(OPS.target_attention_scores(*arguments, precision), rows @ table.t())
    of_session, of_keys, of_values, of_table = OPS.target_attention_scores_backward(grad, *arguments, precision)
    assert torch.equal(of_session, grad @ table)
    assert torch.equal(of_values, grad @ table)
    assert not bool(of_keys.any())
    assert torch.equal(of_table, grad.t() @ rows)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_graph_values(data: st.DataObject) -> None:
    """Offsets, clicks and padding that no graph has are taken for what they are in float32."""
    slots, sessions, items = (
        data.draw(st.integers(10, 60)),
        data.draw(st.integers(1, 20)),
        data.draw(st.integers(0, 110)),
    )
    hidden, precision = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1, 2]))
    tensor = partial(any_tensor, data, "cpu")
    floats = [(sessions, hidden), (slots, hidden), (slots, hidden), (items, hidden)]
    session, keys, values, table = random_tensors(floats, torch.float32)
    arguments = (session, keys / hidden, values, tensor(slots), tensor(sessions), tensor(sessions + 1), table)
    bound = BOUNDS["high" if precision == 1 else "medium"]
    expected = OPS.target_attention_scores(*arguments)
    assert_near(OPS.target_attention_scores(*arguments, precision), expected, bound)
    actual, exact = (OPS.target_attention_scores_backward(expected, *arguments, number) for number in (precision, 0))
    largest = max((gradient.abs().max().item() for gradient in exact if gradient.numel()), default=1.0)
    for value, wanted in zip(actual, exact, strict=True):
        assert_near(value, wanted, 3 * bound, largest)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_repeatable(precision: str) -> None:
    graph = sample_graph("285 clicks")
    inputs = sample_inputs(graph, 100, 500, torch.float32)
    with matmul_precision(precision):
        checks.assert_repeatable(losses_of(graph, 500), inputs)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_number_of_threads(precision: str) -> None:
    """Scores are the same to the bit."""
    graph = sample_graph("285 clicks")
    inputs = sample_inputs(graph, 100, 500, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with matmul_precision(precision):
                results.append(scores_of(graph)(*inputs))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_not_finite(precision: str) -> None:
    """What is no finite number stays so, in its session."""
    graph = sample_graph("ragged")
    inputs = sample_inputs(graph, 5, 150, torch.float32)
    inputs[2][graph.slot_offsets[3]] = torch.nan
    inputs[0][5] = torch.inf
    with matmul_precision(precision):
        scores = scores_of(graph)(*inputs)
        assert scores.isfinite().any(1).tolist() == [number not in (3, 5) for number in range(8)]
        assert scores[3].isnan().all()
        assert losses_of(graph, 150)(*inputs)[3].isnan()
        best, rows = ops.target_attention_topk(encoded_sessions(*inputs[:3], graph), inputs[3], 3)
    assert best.isnan().any(1).tolist() == scores.isnan().any(1).tolist()
    assert rows[3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_topk_is_of_the_scores(precision: str) -> None:
    """In the same precision, with a bfloat16 table as well."""
    graph = sample_graph("ragged")
    *encoded, table = sample_inputs(graph, 40, 300, torch.float32)
    sessions = encoded_sessions(*encoded, graph)
    with matmul_precision(precision):
        for items in (table, table.bfloat16()):
            best, rows = ops.target_attention_topk(sessions, items, 20)
            scores = ops.target_attention_scores(sessions, items)
            assert torch.equal(best, scores.sort(1, descending=True).values[:, :20])
            assert torch.equal(best, scores.gather(1, rows))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_few_rows_are_float32(precision: str) -> None:
    graph = sample_graph("one click")
    inputs = sample_inputs(graph, 20, 90, torch.float32)
    expected = checks.outputs_and_gradients(losses_of(graph, 90), inputs)
    with matmul_precision(precision):
        actual = checks.outputs_and_gradients(losses_of(graph, 90), inputs)
    for value, wanted in zip(actual, expected, strict=True):
        assert torch.equal(value, wanted)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_float64_is_never_rounded(precision: str) -> None:
    graph = sample_graph("ragged")
    inputs = sample_inputs(graph, 20, 90)
    expected = scores_of(graph)(*inputs)
    with matmul_precision(precision):
        assert torch.equal(scores_of(graph)(*inputs), expected)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_falls_back_to_float32_and_says_so_once(chosen: str, precision: str) -> None:
    graph = sample_graph("ragged")
    inputs = sample_inputs(graph, 20, 90, torch.float32)
    expected = scores_of(graph)(*inputs)
    library._warn_of_float32.cache_clear()
    with matmul_precision(precision), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        actual = [scores_of(graph)(*inputs) for _ in range(2)]
    rounds = chosen in ROUNDING[precision]
    assert all(torch.equal(value, expected) != rounds for value in actual)
    assert [f"instruction set in use is {chosen}" in str(warning.message) for warning in caught] == [True] * (
        not rounds
    )


def test_autocast_is_medium(chosen: str) -> None:
    graph = sample_graph("ragged")
    inputs = sample_inputs(graph, 20, 90, torch.float32)
    plain = scores_of(graph)(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = checks.outputs_and_gradients(scores_of(graph), inputs)
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(scores_of(graph)(*inputs), plain)
    with matmul_precision("medium"):
        medium = checks.outputs_and_gradients(scores_of(graph), inputs)
    for value, wanted in zip(autocast, medium, strict=True):
        assert torch.equal(value, wanted)
    assert torch.equal(autocast[0], plain) == (chosen not in ROUNDING["medium"])


@pytest.mark.parametrize(
    ("backend", "chosen_by", "expected"), [("mkldnn", "bf16", "medium"), ("cuda", "tf32", "highest")]
)
def test_precision_of_a_backend(chosen: str, backend: str, chosen_by: str, expected: str) -> None:
    """PyTorch's newer way to choose, beside which it refuses to be asked in the older one."""
    graph = sample_graph("ragged")
    inputs = sample_inputs(graph, 20, 90, torch.float32)
    with matmul_precision(expected):
        wanted = scores_of(graph)(*inputs)
    products = getattr(torch.backends, backend).matmul
    before, products.fp32_precision = products.fp32_precision, chosen_by
    try:
        assert torch.equal(scores_of(graph)(*inputs), wanted)
        assert library.precision("cuda") == (backend == "cuda")
    finally:
        products.fp32_precision = before


def test_autocast_of_a_gpu() -> None:
    """To bfloat16 alone: float16 has more digits."""
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        for dtype, expected in ((torch.float16, 0), (torch.bfloat16, 2)):
            torch.set_autocast_dtype("cuda", dtype)
            assert library.precision("cuda") == expected
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)


@pytest.mark.parametrize("precision", [-1, 3])
def test_no_precision(precision: int) -> None:
    graph = sample_graph("ragged")
    session, keys, values, table = sample_inputs(graph, 20, 90, torch.float32)
    with pytest.raises(RuntimeError, match=f"^precision: expected 0, 1 or 2, got {precision}"):
        OPS.target_attention_scores(*encoded_sessions(session, keys, values, graph), table, precision)


def test_tensors_without_values() -> None:
    graph = sample_graph("ragged")
    session, keys, values, table = (value.to("meta") for value in sample_inputs(graph, 20, 90, torch.float32))
    counts = (graph.click_counts, graph.padding, graph.slot_offsets)
    encoded = EncodedSessions(session, keys, values, *(value.to("meta") for value in counts))
    with matmul_precision("medium"), torch.autocast("cpu", torch.bfloat16):
        assert ops.target_attention_scores(encoded, table).shape == (8, 90)


@pytest.mark.parametrize("precision", [1, 2])
@pytest.mark.parametrize("name", SESSIONS)
def test_losses_are_of_the_same_scores(name: str, precision: int) -> None:
    """Scores and cross-entropy round alike."""
    graph = sample_graph(name)
    session, keys, values, table = sample_inputs(graph, 30, 110, torch.float32)
    arguments = *encoded_sessions(session, keys, values, graph), table
    _, normalizer = OPS.target_attention_cross_entropy(*arguments, sample_targets(graph, 110), precision)
    scores = OPS.target_attention_scores(*arguments, precision).double()
    assert_near(normalizer.sum(1), scores.logsumexp(1), 1e-6)
