"""Says at the end what the machine can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytest
import torch

import tagnn_fast


def timed(function: Callable[[], object], rounds: int = 15) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return median(seconds[2:])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the numbers above are to be held against."""
    if not terminalreporter.config.getoption("benchmark_only"):
        return
    square = torch.randn(2048, 2048)
    rate = 2 * 2048**3 / timed(lambda: square @ square) / 1e9
    large = torch.ones(1 << 26)
    bandwidth = large.numel() * 4 / timed(large.sum) / 1e9
    terminalreporter.write_line(
        f"machine: {torch.get_num_threads()} threads, {tagnn_fast.cpu_capability()} kernels, "
        f"PyTorch {torch.__version__}; "
        f"float32 product of 2048 x 2048: {rate:.0f} GFLOP/s; read bandwidth: {bandwidth:.1f} GB/s"
    )
