"""Each op's time on a GPU beside its floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.calls import BATCH, PRECISIONS, Call, all_calls, random_model, size_of, trained_model
from benchmarks.gpu.rates import Rates, measure_rates, replayed
from benchmarks.inputs import sample_batch, training_examples
from benchmarks.timing import timed_on_gpu
from tagnn_fast import ops


def passes(call: Call, implementation: Any) -> dict[str, Callable[[], object]]:
    """Calls of the forward pass alone and, where there is one, of both passes."""
    leaves = [value.detach().requires_grad_(call.has_gradient) for value in call.tensors]

    def forward() -> Any:
        with torch.no_grad():
            return call.function(implementation, *leaves)

    if not call.has_gradient:
        return {"forward": forward}
    result = forward()
    weights = [torch.ones_like(value) for value in (result if isinstance(result, tuple) else (result,))]

    def both() -> object:
        output = call.function(implementation, *leaves)
        return torch.autograd.grad(output if isinstance(output, tuple) else (output,), leaves, weights)

    return {"forward": forward, "forward and backward": both}


def time_ops(folder: Path, run: str | None) -> dict[str, Any]:
    """Each op on 512 real prefixes, replayed as a CUDA graph, beside its floor. Backward: three times the forward."""
    rates = measure_rates()
    model = random_model() if run is None else trained_model(run)
    rows: list[dict[str, Any]] = []
    table: dict[str, str] = {}
    for call in all_calls(model):
        for precision, setting in PRECISIONS.items():
            torch.set_float32_matmul_precision(setting)
            for what, function in passes(call, ops).items():
                cost = 1 if what == "forward" else 4 if call.name.startswith("target") else 3
                floor = rates.floor(cost * call.multiply_adds, cost * call.bytes, precision)
                seconds = timed_on_gpu(replayed(function))
                eager = timed_on_gpu(function)
                row = {"op": call.name, "pass": what, "precision": precision, "seconds": seconds, "eager": eager}
                rows.append({**row, "floor": floor, "share": floor / seconds})
                print(rows[-1], flush=True)
                name = f"{call.name}, {what}"
                described = f"{precision} {described_time(seconds, floor)}"
                table[name] = f"{table[name]}; {described}" if name in table else described
    return {"table": {**table, **time_integer_ops(rates, rows)}, "rows": rows}


def described_time(seconds: float, floor: float) -> str:
    """A time and how much of it could not be saved."""
    return f"{1e3 * seconds:.3f} ms ({100 * floor / seconds:.0f}% floor)"


def time_integer_ops(rates: Rates, rows: list[dict[str, Any]]) -> dict[str, str]:
    """session_graph and prefix_batch; their floor is reading inputs and writing outputs once."""
    examples = training_examples().to("cuda")
    batch = sample_batch(BATCH).to("cuda")
    numbers = torch.randint(0, len(examples), (BATCH,), device="cuda")
    capacity = -(-batch.items.numel() // 256) * 256
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "session_graph": (lambda: torch.ops.tagnn_fast.session_graph(*batch), size_of(*batch)),
        "prefix_batch": (lambda: tuple(examples.cut(numbers, capacity)), size_of(numbers)),
    }
    table = {}
    for name, (call, read) in calls.items():
        floor = (read + size_of(*call())) / rates.copy
        seconds, eager = timed_on_gpu(replayed(call)), timed_on_gpu(call)
        rows.append({"op": name, "seconds": seconds, "eager": eager, "floor": floor, "share": floor / seconds})
        table[name] = described_time(seconds, floor)
    return table
