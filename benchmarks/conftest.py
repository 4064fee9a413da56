"""Says at the end what the machine can do at best."""

from __future__ import annotations

import pytest
import torch

import tagnn_fast
from benchmarks.inputs import diginetica
from benchmarks.timing import machine_rates


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the numbers above are to be held against, and what sessions they are of."""
    if not terminalreporter.config.getoption("benchmark_only"):
        return
    rates = machine_rates(1)
    terminalreporter.write_line(
        f"machine: {torch.get_num_threads()} threads, {tagnn_fast.cpu_capability()} kernels, "
        f"PyTorch {torch.__version__}; "
        f"float32 product of 2048 x 2048: {rates['gemm'] / 1e9:.0f} GFLOP/s; "
        f"read bandwidth: {rates['bandwidth'] / 1e9:.1f} GB/s; sessions: {diginetica().name}"
    )
