"""What tests of every room use: the folders, sessions of every odd shape, tensors, and when they are near."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import tagnn_fast
from tagnn_fast import _C
from tagnn_fast.ops import SessionGraph, session_graph

ROOT = Path(__file__).parent.parent
# Real sessions and what else is no part of the repository.
SHARED = Path(os.environ.get("TAGNN_FAST_SHARED", ROOT.parent / "shared"))


def shared(name: str) -> Path:
    """A file or folder of SHARED: without it the test is skipped, or fails where TAGNN_FAST_EXPECT_SHARED=1."""
    __tracebackhide__ = True
    import pytest  # benchmarks use this module where there is none

    if not (SHARED / name).exists():
        expected = os.environ.get("TAGNN_FAST_EXPECT_SHARED") == "1"
        (pytest.fail if expected else pytest.skip)(f"{name} is not in {SHARED}, and no part of the repository")
    return SHARED / name


INSTRUCTION_SETS = ["baseline", "avx2", "avx512", "avx512_bf16", "amx"]
CAPABILITIES = [name for name in INSTRUCTION_SETS if _C.has_cpu_capability(name)]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def random_sessions(lengths: Sequence[int], items: int, seed: int = 0) -> list[list[int]]:
    """Sessions of these lengths, items drawn from 1..items."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, items + 1, (length,), generator=generator).tolist() for length in lengths]


# Every odd shape of a batch: 0 is a click to skip.
SESSIONS: dict[str, list[list[int]]] = {
    "ragged": [[5, 2, 9, 2], [7], [3, 3, 4, 3, 3], *random_sessions((1, 8, 2, 19, 3), items=6)],
    "one click": [[4], [9], [1]],
    "all the same": [[6] * 7, [2, 2]],
    "285 clicks": [*random_sessions((285,), items=90), [3, 1], *random_sessions((140,), items=500, seed=1)],
    "empty session": [[], [1, 2], [], [2, 2, 1], []],
    "skipped clicks": [[0, 4, 0, 4, 5], [0, 0], [8, 0], [0, 3], [1, 0, 2, 0, 1]],
    "only skipped": [[0, 0, 0]],
    "empty batch": [],
}
PADDED_LENGTHS = [None, 0, 5, 69]


def batch(sessions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Items and offsets of sessions that may be empty or hold zeros."""
    lengths = torch.tensor([0, *(len(session) for session in sessions)])
    return torch.tensor([item for session in sessions for item in session], dtype=torch.int64), lengths.cumsum(0)


def sample_graph(name: str, padded_length: int | None = None, device: str = "cpu") -> SessionGraph:
    """Graphs of the sessions of that name."""
    items, offsets = batch(SESSIONS[name])
    return session_graph(items.to(device), offsets.to(device), padded_length)


def random_tensors(
    shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: str = "cpu", requires_grad: bool = False
) -> list[Tensor]:
    """One normal tensor per shape, the same in every dtype."""
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [value.to(device, dtype).requires_grad_(requires_grad) for value in values]


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """As torch.set_float32_matmul_precision says, and put back afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def capability(name: str) -> Iterator[None]:
    """The kernels of one instruction set."""
    before = tagnn_fast.cpu_capability()
    tagnn_fast.set_cpu_capability(name)
    try:
        yield
    finally:
        tagnn_fast.set_cpu_capability(before)


def assert_near(actual: Tensor, expected: Tensor, relative: float, scale: float | None = None) -> None:
    """Difference at most `relative` of `scale`, or of the largest expected magnitude."""
    assert actual.shape == expected.shape
    assert bool(torch.isfinite(actual).all())
    if scale is None:
        scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=relative * max(scale, 1e-2))


def forget_digests(record: Path) -> None:
    """Make the record of a data set or run as earlier versions wrote it, so that its files may be changed."""
    content = json.loads(record.read_bytes())
    assert content.pop("files")
    record.write_text(json.dumps(content), encoding="utf-8")
