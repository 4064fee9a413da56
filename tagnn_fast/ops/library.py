"""Loads the native ops into PyTorch, once, when the package is imported."""

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PATH = Path(__file__).parent.parent / "libtagnn_fast_ops.so"

if not PATH.exists():
    raise ImportError(
        f"tagnn_fast: expected the compiled ops at {PATH}, found none. This looks like a source tree that was never "
        "built: run `pip install .`, or `pip install -e .` to work on it, and import from there."
    )


def _load(path: Path) -> None:
    """Raises ImportError where this process has ops of another version: an exported folder's, for example."""
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise ImportError(f"tagnn_fast: {error.__cause__ or error}") from None
    load_error = ctypes.CDLL(str(path)).tagnn_fast_load_error
    load_error.restype = ctypes.c_char_p
    if (message := load_error()) is not None:
        raise ImportError(f"tagnn_fast: {path}: {message.decode()}")


_load(PATH)
_cpu_capability = ctypes.CDLL(str(PATH)).tagnn_fast_cpu_capability
_cpu_capability.restype = ctypes.c_char_p

CUDA_PATH = PATH.with_name("libtagnn_fast_cuda.so")
_HAS_CUDA = CUDA_PATH.exists() and torch.cuda.is_available()
if _HAS_CUDA:
    _load(CUDA_PATH)

# MKL's vector functions detect the CPU at their first call, and not safely: on an Intel machine with AVX-512, a second
# thread that calls meanwhile may get exp with a relative error of 3e-9 in float64. One value keeps it to one thread.
torch.zeros(1, device="cpu").exp()


_plain: ContextVar[bool] = ContextVar("plain definitions", default=False)


@contextmanager
def plain_definitions() -> Iterator[None]:
    """Have everything computed by the ops' plain PyTorch definitions: for programs that run where no op is."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


@torch.jit.unused
def has_kernel(tensor: Tensor) -> bool:
    """Whether the native ops run where `tensor` is; elsewhere their plain PyTorch definitions do."""
    # Whoever asks for plain definitions has no tracer of bytecode at work, which could not follow a context variable.
    if not torch.compiler.is_dynamo_compiling() and _plain.get():
        return False
    return tensor.device.type in ("cpu", "meta") or (_HAS_CUDA and tensor.device.type == "cuda")


def native_on_cpu(tensor: Tensor) -> bool:
    """Whether ops with native kernels for the CPU alone have one where `tensor` is."""
    if torch.jit.is_scripting():
        return tensor.is_cpu
    return tensor.is_cpu and has_kernel(tensor)


# By the instruction sets that have them: products of float32 as the sum of two bfloat16 numbers, and as one.
_CAPABILITIES = {1: ("amx",), 2: ("avx512_bf16", "amx")}


@torch.jit.unused
def precision(device: str) -> int:
    """What kernels may round float32 operands of their products to.

    0, nothing; 1, tf32 on a GPU and the sum of two bfloat16 numbers on a CPU; 2, bfloat16. It is what
    ``torch.set_float32_matmul_precision`` says, "highest", "high" or "medium", or ``fp32_precision`` of the products of
    ``torch.backends.mkldnn`` and ``torch.backends.cuda``; autocast to bfloat16 allows 2. Where the
    CPU has no instructions that make a precision faster, it is 0, as in PyTorch, and a warning says so once. Programs
    that are exported take 0, whatever is chosen while they are made.
    """
    if torch.compiler.is_exporting():
        return 0
    kind = "cpu" if device == "cpu" else "cuda"
    autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    wanted = 2 if autocast else _chosen_precision(kind)
    if kind == "cpu" and wanted > 0 and (capability := _cpu_capability().decode()) not in _CAPABILITIES[wanted]:
        _warn_of_float32(wanted, capability)
        return 0
    return wanted


# What torch.compiler.assume_constant_result does, without its import of the whole compiler, which takes as long as
# PyTorch's own.
precision._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _chosen_precision(device: str) -> int:
    try:
        return ("highest", "high", "medium").index(torch.get_float32_matmul_precision())
    except RuntimeError:  # chosen by backend, in PyTorch's newer way, beside which the older one is not to be asked
        backend: Any = torch.backends.mkldnn if device == "cpu" else torch.backends.cuda
        return {"tf32": 1, "bf16": 2}.get(backend.matmul.fp32_precision, 0)


@cache
def _warn_of_float32(wanted: int, capability: str) -> None:
    operands = {1: "sums of two bfloat16 numbers", 2: "bfloat16 numbers"}[wanted]
    warnings.warn(
        f"tagnn_fast: target attention stays in float32: products of {operands} are faster with "
        f"{' or '.join(_CAPABILITIES[wanted])} alone, and this CPU's instruction set in use is {capability}",
        stacklevel=2,
    )
