"""The checks that every op must pass."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tagnn_fast.ops import SessionGraph, reference
from tests.support import SESSIONS, assert_near, batch, matmul_precision, random_tensors, sample_graph

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


@matmul_precision("medium")
def assert_autocast_is_right(function: Function, inputs: Sequence[Tensor]) -> None:
    """Under bfloat16 autocast, float32 inputs give what they give without, bfloat16 ones what their values give.

    What they give where products may take bfloat16, that is, which autocast allows.
    """
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
