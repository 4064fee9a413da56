"""One gradient formula, two ways to reach it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

SetupContext = Callable[[Any, tuple[Any, ...], Any], None]
Backward = Callable[..., Any]


def register_gradient(op: str, setup_context: SetupContext, backward: Backward) -> Callable[..., Any]:
    """Register the gradient of ``tagnn_fast::op`` with PyTorch and return a faster way to call the op eagerly.

    The registered formula serves torch.compile, export and everyone who calls ``torch.ops`` directly; each call spends
    tens of microseconds in Python on filling in default arguments. The returned function is an autograd.Function with
    the same formula; it takes all arguments by position. Gradients of gradients are refused.
    """
    name = f"tagnn_fast::{op}"

    def backward_once(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{name}: expected create_graph=False, got True; gradients of gradients are not supported"
            )
        return backward(ctx, *grads)

    torch.library.register_autograd(name, backward_once, setup_context=setup_context)
    # Mixed precision: the kernels take float32, and round operands of their own products at most.
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(name, device, torch.float32)
    overload = getattr(torch.ops.tagnn_fast, op).default

    def forward(ctx: Any, *arguments: Any) -> Any:
        output = overload(*arguments)
        setup_context(ctx, arguments, output)
        return output

    # Not with a setup_context of its own, which torch.func would want: PyTorch then inspects signatures at every call.
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward_once)}
    function: Any = type(op, (torch.autograd.Function,), members)

    def call(*arguments: Any) -> Any:
        # Autocast converts arguments before the gradient's context sees them, which only the registered way does; and
        # tracing records ops, not Python functions.
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda") or torch.jit.is_tracing():
            return overload(*arguments)
        return function.apply(*arguments)

    return call
