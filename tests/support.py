"""Inputs that every op is tried on, and the checks that all of them must pass."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import tagnn_fast
from tagnn_fast import _C
from tagnn_fast.ops import SessionGraph, reference, session_graph

ROOT = Path(__file__).parent.parent
# Real sessions and what else is no part of the repository.
SHARED = Path(os.environ.get("TAGNN_FAST_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """A file or folder of SHARED: without it the test is skipped, or fails where TAGNN_FAST_EXPECT_SHARED=1."""
    __tracebackhide__ = True
    import pytest  # benchmarks use this module where there is none

    if not (SHARED / name).exists():
        expected = os.environ.get("TAGNN_FAST_EXPECT_SHARED") == "1"
        (pytest.fail if expected else pytest.skip)(f"{name} is not in {SHARED}, and no part of the repository")
    return SHARED / name


CAPABILITIES = [name for name in ("baseline", "avx2", "avx512") if _C.has_cpu_capability(name)]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def random_sessions(lengths: Sequence[int], items: int, seed: int = 0) -> list[list[int]]:
    """Sessions of these lengths, items drawn from 1..items."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, items + 1, (length,), generator=generator).tolist() for length in lengths]


# Every odd shape of a batch: 0 is a click to skip.
SESSIONS: dict[str, list[list[int]]] = {
    "ragged": [[5, 2, 9, 2], [7], [3, 3, 4, 3, 3], *random_sessions((1, 8, 2, 19, 3), items=6)],
    "one click": [[4], [9], [1]],
    "all the same": [[6] * 7, [2, 2]],
    "285 clicks": [*random_sessions((285,), items=90), [3, 1], *random_sessions((140,), items=500, seed=1)],
    "empty session": [[], [1, 2], [], [2, 2, 1], []],
    "skipped clicks": [[0, 4, 0, 4, 5], [0, 0], [8, 0], [0, 3], [1, 0, 2, 0, 1]],
    "only skipped": [[0, 0, 0]],
    "empty batch": [],
}
PADDED_LENGTHS = [None, 0, 5, 69]


def batch(sessions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Items and offsets of sessions that may be empty or hold zeros."""
    lengths = torch.tensor([0, *(len(session) for session in sessions)])
    return torch.tensor([item for session in sessions for item in session], dtype=torch.int64), lengths.cumsum(0)


def sample_graph(name: str, padded_length: int | None = None, device: str = "cpu") -> SessionGraph:
    """Graphs of the sessions of that name."""
    items, offsets = batch(SESSIONS[name])
    return session_graph(items.to(device), offsets.to(device), padded_length)


def random_tensors(
    shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: str = "cpu", requires_grad: bool = False
) -> list[Tensor]:
    """One normal tensor per shape, the same in every dtype."""
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [value.to(device, dtype).requires_grad_(requires_grad) for value in values]


@contextmanager
def capability(name: str) -> Iterator[None]:
    """The kernels of one instruction set."""
    before = tagnn_fast.cpu_capability()
    tagnn_fast.set_cpu_capability(name)
    try:
        yield
    finally:
        tagnn_fast.set_cpu_capability(before)


def assert_near(actual: Tensor, expected: Tensor, relative: float, scale: float | None = None) -> None:
    """Difference at most `relative` of `scale`, or of the largest expected magnitude."""
    assert actual.shape == expected.shape
    assert bool(torch.isfinite(actual).all())
    if scale is None:
        scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=relative * max(scale, 1e-2))


Function = Callable[..., Tensor | tuple[Tensor, ...]]


def outputs_and_gradients(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of function(*inputs) and the gradients of a fixed random projection of them, in order."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    result = function(*leaves)
    outputs = list(result) if isinstance(result, tuple) else [result]
    weights = random_tensors([tuple(output.shape) for output in outputs], outputs[0].dtype, str(outputs[0].device))
    total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
    gradients = torch.autograd.grad(total, leaves)
    return [*(output.detach() for output in outputs), *gradients]


def assert_same_function(actual: Function, expected: Function, inputs: Sequence[Tensor]) -> None:
    """Outputs and gradients agree with the oracle in float64: to 1e-10 in float64, 1e-5 in float32.

    In float32, gradients are compared on the scale of the largest: those that cancel, as every softmax's do for a shift
    of its logits, are rounding errors of the others.
    """
    single = inputs[0].dtype == torch.float32
    oracle = outputs_and_gradients(expected, [value.double() for value in inputs])
    gradients = oracle[-len(inputs) :]
    largest = max((gradient.abs().max().item() for gradient in gradients if gradient.numel()), default=0.0)
    for index, (value, expected_value) in enumerate(zip(outputs_and_gradients(actual, inputs), oracle, strict=True)):
        is_gradient = index >= len(oracle) - len(inputs)
        assert_near(value, expected_value, 1e-5 if single else 1e-10, largest if single and is_gradient else None)


def assert_repeatable(function: Function, inputs: Sequence[Tensor]) -> None:
    """Outputs and gradients are the same to the bit in every run."""
    first = outputs_and_gradients(function, inputs)
    for _ in range(3):
        for value, again in zip(first, outputs_and_gradients(function, inputs), strict=True):
            assert torch.equal(value, again)


def assert_autocast_is_right(function: Function, inputs: Sequence[Tensor]) -> None:
    """Under bfloat16 autocast, float32 inputs give what they give without, bfloat16 ones what their values give."""
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        in_float32 = outputs_and_gradients(function, inputs)
        leaves = [value.detach().bfloat16().requires_grad_() for value in inputs]
        result = function(*leaves)
        outputs = result if isinstance(result, tuple) else (result,)
        gradients = torch.autograd.grad(sum(output.float().sum() for output in outputs), leaves)
    for value, expected in zip(in_float32, outputs_and_gradients(function, inputs), strict=True):
        assert torch.equal(value, expected)
    exact = [value.detach().bfloat16().float().requires_grad_() for value in inputs]
    result = function(*exact)
    expected_outputs = result if isinstance(result, tuple) else (result,)
    expected_gradients = torch.autograd.grad(sum(output.sum() for output in expected_outputs), exact)
    for value, expected in zip(outputs, expected_outputs, strict=True):
        assert torch.equal(value.float(), expected)
    for value, expected in zip(gradients, expected_gradients, strict=True):
        assert value.dtype == torch.bfloat16
        assert_near(value, expected, 0.01)


def script_round_trip(function: torch.jit.ScriptFunction) -> torch.jit.ScriptFunction:
    """The scripted function, saved and loaded."""
    buffer = io.BytesIO()
    torch.jit.save(function, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def export_round_trip(
    module: torch.nn.Module, sessions: str, float_inputs: Sequence[Tensor]
) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """module(items, offsets, nodes, *parameters), exported with any number of clicks and sessions, saved and loaded."""
    clicks, count = torch.export.Dim("clicks", min=2), torch.export.Dim("count", min=3)
    shapes = ({0: clicks}, {0: count}, {0: clicks}, tuple({} for _ in float_inputs[1:]))
    arguments = (*batch(SESSIONS[sessions]), *float_inputs)
    program = torch.export.export(module, arguments, dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()  # type: ignore[no-any-return]


def encoder_inputs(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Node states, (slots, hidden), and parameters as large as those of models are."""
    nodes, *parameters = random_tensors(shapes, dtype, device)
    return [nodes, *(nodes.shape[1] ** -0.5 * parameter for parameter in parameters)]


def assert_equal_outputs(actual: Tensor | tuple[Tensor, ...], expected: Tensor | tuple[Tensor, ...]) -> None:
    """To the bit."""
    pairs = [(value,) if isinstance(value, Tensor) else value for value in (actual, expected)]
    assert all(torch.equal(value, other) for value, other in zip(*pairs, strict=True))


def assert_same_when_scripted(
    scripted: torch.jit.ScriptFunction, function: Function, sample_inputs: Callable[[int, int], list[Tensor]]
) -> None:
    """scripted(items, offsets, *inputs), saved and loaded, gives what function(graph, *inputs) gives."""
    clicks, graph = batch(SESSIONS["ragged"]), sample_graph("ragged")
    inputs = sample_inputs(clicks[0].shape[0], 6)
    assert_equal_outputs(script_round_trip(scripted)(*clicks, *inputs), function(graph, *inputs))


def assert_same_when_exported(module: torch.nn.Module, sample_inputs: Callable[[int, int], list[Tensor]]) -> None:
    """module(items, offsets, *inputs), exported on one batch, saved and loaded, gives the same on another."""
    loaded = export_round_trip(module, "ragged", sample_inputs(sample_graph("ragged").click_counts.shape[0], 6))
    clicks = batch(SESSIONS["285 clicks"])
    inputs = sample_inputs(clicks[0].shape[0], 6)
    assert_equal_outputs(loaded(*clicks, *inputs), module(*clicks, *inputs))


def assert_unused_slots_are_zero(function: Function, inputs: Sequence[Tensor], unused: Tensor) -> None:
    """In the output, and in the gradient of the first input."""
    output, gradient, *_ = outputs_and_gradients(function, inputs)
    assert bool(unused.any())
    assert not bool(output[unused].any())
    assert not bool(gradient[unused].any())


def unused_slots(graph: SessionGraph) -> Tensor:
    """Which slots hold no node, bool (slots,)."""
    return ~reference.is_node(graph.slot_offsets, graph.num_nodes, graph.node_items.shape[0])


def wrong_bytes(content: bytes, generator: random.Random) -> bytes:
    """One or a few bytes are others."""
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 4))):
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
    return bytes(damaged)


def forget_digests(record: Path) -> None:
    """Make the record of a data set or run as earlier versions wrote it, so that its files may be changed."""
    content = json.loads(record.read_bytes())
    assert content.pop("files")
    record.write_text(json.dumps(content), encoding="utf-8")
