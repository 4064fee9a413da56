"""The tables of answering one session and many."""

from __future__ import annotations

from typing import Any

from benchmarks.jobs.serving import BATCH_SIZES, FEWEST_CALLS, KERNEL, batch_lines, one_session_lines, timed_calls


def test_slow_calls_are_timed_often_enough_for_a_percentile() -> None:
    asked: list[int] = []
    figures = timed_calls([lambda: asked.append(0)], seconds=0.0)
    assert figures["answers"] == FEWEST_CALLS <= len(asked)
    assert 0 <= figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"]


def test_tables() -> None:
    times = {"p50_ms": 0.25, "p99_ms": 0.5, "sessions_a_second": 1234.5}
    row: dict[str, Any] = {"load_seconds": 1.25, "by_size": dict.fromkeys(BATCH_SIZES, times)}
    figures = {1000: {KERNEL: row, "Python, compiled": row}}
    assert one_session_lines(figures)[2:] == [
        f"| 1,000 | {KERNEL} | 0.25 ms | 0.50 ms |  |",
        "| 1,000 | Python, compiled | 0.25 ms | 0.50 ms | 1.25 s |",
    ]
    assert batch_lines(figures)[2].startswith("| items | variant | 1 | 2 | 4 |")
    assert batch_lines(figures)[-1] == "| 1,000 | Python, compiled |" + " 1,234 |" * len(BATCH_SIZES)
    figures[1000]["Python, onnx"] = {**row, "by_size": {1: times}}
    assert batch_lines(figures)[-1] == "| 1,000 | Python, onnx | 1,234 |" + "  |" * (len(BATCH_SIZES) - 1)
