"""How everything here is timed, on the CPU and on a GPU."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor


def timed(call: Callable[[], object], seconds: float = 2.5) -> float:
    """Median seconds of a call, after two that do not count (one if they are long)."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first < seconds:
        call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < seconds and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if sum(times) > 4 * seconds:
            break
    return median(times)


def timed_on_gpu(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Median seconds of a call by CUDA events, after three that do not count.

    Calls are queued, so that the GPU does not wait.
    """
    for _ in range(3):
        call()
    once = _elapsed(call, 1)[0]
    return median(_elapsed(call, max(5, min(200, int(seconds / once)))))


def _elapsed(call: Callable[[], object], calls: int) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairwise(events)]


def machine_rates(seconds: float = 3.0) -> dict[str, float]:
    """What this machine does at best: float32 and bfloat16 products, and reading memory with all threads."""
    square, large = torch.randn(2048, 2048), torch.ones(1 << 26)
    half = square.bfloat16()
    return {
        "gemm": 2 * 2048**3 / timed(lambda: square @ square, seconds),
        "bfloat16_gemm": 2 * 2048**3 / timed(lambda: half @ half, seconds),
        "bandwidth": large.numel() * 4 / timed(large.sum, seconds),
    }


def in_own_process(command: Sequence[str]) -> dict[str, Any]:
    """The figures that a command prints as JSON in its last line.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def training_step(
    function: Callable[[Tensor], Tensor], nodes: Tensor, parameters: Sequence[Tensor]
) -> Callable[[], None]:
    """A call that runs function(nodes) and its backward into `nodes` and `parameters`, gradients dropped afterwards."""
    nodes = nodes.detach().requires_grad_()
    weight = torch.randn_like(function(nodes))

    def step() -> None:
        function(nodes).backward(weight)
        for leaf in (nodes, *parameters):
            leaf.grad = None

    return step
