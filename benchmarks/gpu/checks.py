"""Every op against its definition in float64, on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.calls import PRECISIONS, Call, all_calls, random_model, trained_model
from benchmarks.inputs import sample_batch, training_examples
from tagnn_fast import ops
from tagnn_fast.ops import reference
from tests.ops.checks import outputs_and_gradients

BOUNDS = {"float32": 1e-5, "tf32": 1e-3, "bf16": 1e-2}


def relative_difference(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """‖actual − expected‖ / ‖expected‖ of tensors taken together, in float64."""
    difference = sum(float((a.double() - e.double()).square().sum()) for a, e in zip(actual, expected, strict=True))
    size = sum(float(e.double().square().sum()) for e in expected)
    return float((difference / size) ** 0.5) if size > 0 else float(difference > 0)


def results_of(call: Call, implementation: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and gradients of a fixed random projection of them."""

    def function(*values: Tensor) -> Any:
        return call.function(implementation, *values)

    if not call.has_gradient:
        with torch.no_grad():
            return [function(*call.tensors)], []
    values = outputs_and_gradients(function, call.tensors)
    count = len(values) - len(call.tensors)
    return values[:count], values[count:]


def compare(calls: Sequence[Call], weights: str, failed: list[str]) -> list[dict[str, Any]]:
    """Each op in each precision against the definition in float64, computed once."""
    rows = []
    for call in calls:
        torch.set_float32_matmul_precision("highest")
        expected = results_of(call.double(), reference)
        for name, setting in PRECISIONS.items():
            torch.set_float32_matmul_precision(setting)
            actual = results_of(call, ops)
            differences = [relative_difference(a, e) for a, e in zip(actual, expected, strict=True)]
            within = all(difference <= BOUNDS[name] for difference in differences)  # not if it is NaN
            row = {"op": call.name, "weights": weights, "precision": name, "within": within}
            rows.append({**row, "outputs": differences[0], "gradients": differences[1]})
            print(rows[-1], flush=True)
            if not within:
                failed.append(f"{call.name}, {weights}, {name}")
    return rows


def check_integer_ops(failed: list[str]) -> None:
    """prefix_batch and session_graph, which must be equal to the bit."""
    examples = training_examples()
    numbers = torch.randint(0, len(examples), (512,))
    whole = examples.sessions.clicks, examples.sessions.offsets, examples.first_example, numbers
    pairs = {
        "prefix_batch": (
            ops.prefix_batch(*(value.cuda() for value in whole), 4096),
            reference.prefix_batch(*whole, 4096),
        )
    }
    batch = sample_batch(512)
    for length in (None, 69):
        on_gpu = ops.session_graph(*batch.to("cuda"), length)
        pairs[f"session_graph, padded length {length}"] = (on_gpu, reference.session_graph(*batch, length))
    for name, (actual, expected) in pairs.items():
        if not all(torch.equal(a.cpu(), e) for a, e in zip(actual, expected, strict=True)):
            failed.append(name)


def oracle(folder: Path, run: str | None) -> dict[str, Any]:
    """Every op on fresh random weights, and on trained ones if there are any, on real prefixes.

    Gradients of an op are compared as one vector: some of them cancel down to the rounding of the others.
    """
    failed: list[str] = []
    check_integer_ops(failed)
    rows = compare(all_calls(random_model()), "random", failed)
    if run is not None:
        rows += compare(all_calls(trained_model(run)), "trained", failed)
    table = {}
    for name in PRECISIONS:
        worst = {kind: max(row[kind] for row in rows if row["precision"] == name) for kind in ("outputs", "gradients")}
        described = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
        table[f"largest ‖out − ref‖/‖ref‖, {name}"] = f"{described} (bound {BOUNDS[name]:.0e})"
    figures: dict[str, Any] = {"table": table, "rows": rows, "trained weights": run is not None}
    if failed:
        figures["failed"] = f"beyond the bound: {'; '.join(failed)}"
    return figures
