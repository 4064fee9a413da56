"""What the card can do, and how that is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import timed_on_gpu


def replayed(call: Callable[[], object]) -> Callable[[], object]:
    """The same work as a CUDA graph: what the GPU needs, without what Python does before each kernel."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = call()
    return lambda: (graph.replay(), kept)


def extra_memory(call: Callable[[], object]) -> float:
    """Megabytes that a call takes at its peak beyond what was there before."""
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


@dataclass(frozen=True)
class Rates:
    """What the card reaches: bytes per second of a copy (read and written), and FLOP per second of products."""

    copy: float
    products: dict[str, float]

    def floor(self, multiply_adds: float, bytes_moved: float, precision: str) -> float:
        """Seconds below which no kernel can do this: the slower of its arithmetic and its memory."""
        return max(2 * multiply_adds / self.products[precision], bytes_moved / self.copy)


def measure_rates() -> Rates:
    """A copy of 4 GB, and a product of 8192 x 8192 matrices in each precision."""
    source, target = (torch.zeros(1 << 30, dtype=torch.int32, device="cuda") for _ in range(2))
    copy = 2 * source.numel() * 4 / timed_on_gpu(partial(target.copy_, source))
    del source, target
    products = {}
    for name, setting, dtype in (
        ("float32", "highest", torch.float32),
        ("tf32", "high", torch.float32),
        ("bf16", "medium", torch.bfloat16),
    ):
        torch.set_float32_matmul_precision(setting)
        left, right = (torch.randn(8192, 8192, device="cuda").to(dtype) for _ in range(2))
        products[name] = 2 * 8192**3 / timed_on_gpu(partial(torch.mm, left, right))
    return Rates(copy, products)


def machine(folder: Path, run: str | None) -> dict[str, Any]:
    """The card's own rates."""
    rates = measure_rates()
    properties = torch.cuda.get_device_properties(0)
    table = {
        "card": f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.total_memory / 1e9:.0f} GB",
        "PyTorch, CUDA": f"{torch.__version__}, {torch.version.cuda}",
        "copy, read and written": f"{rates.copy / 1e9:,.0f} GB/s",
    }
    for name, rate in rates.products.items():
        table[f"matrix product, {name}"] = f"{rate / 1e12:,.1f} TFLOP/s"
    return {"table": table, "copy": rates.copy, "products": rates.products}
