"""Vectors of length 1, with a gradient in two passes over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SHORTEST = 1e-6
_BLOCK = 4096  # rows whose gradient is in the cache of a CPU from pass to pass


def unit_rows(vectors: Tensor, shortest: float = SHORTEST) -> Tensor:
    """Each row divided by its length, or by `shortest` if that is more: float (rows, hidden); zeros stay zeros."""
    if not torch.jit.is_scripting():
        plain = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if vectors.requires_grad and torch.is_grad_enabled() and not plain:
            unit: Tensor = _UnitRows.apply(vectors, shortest)  # type: ignore[no-untyped-call]
            return unit
    return torch.nn.functional.normalize(vectors, dim=1, eps=shortest)


class _UnitRows(torch.autograd.Function):
    """With u = v / ‖v‖, the gradient is (g - u (u · g)) / ‖v‖: PyTorch's own takes six passes and as many copies."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, shortest: float) -> Tensor:
        lengths = vectors.norm(2, 1, keepdim=True).clamp_min(shortest)  # (rows, 1)
        unit: Tensor = vectors / lengths
        ctx.shortest = shortest
        ctx.save_for_backward(unit, lengths)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        unit, lengths = ctx.saved_tensors
        result = torch.empty_like(grad)
        block = _BLOCK if grad.device.type == "cpu" else max(1, grad.shape[0])
        parts = (value.split(block) for value in (grad, unit, lengths, result))
        for g, u, length, out in zip(*parts, strict=True):
            along = (g * u).sum(1, keepdim=True) * (length > ctx.shortest)  # a constant divides shorter ones
            torch.addcmul(g, u, along, value=-1, out=out).div_(length)
        return result, None
