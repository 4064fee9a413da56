"""Loads the native ops into PyTorch, once, when the package is imported."""

import ctypes
from pathlib import Path

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

CUDA_PATH = PATH.with_name("libtagnn_fast_cuda.so")
_HAS_CUDA = CUDA_PATH.exists() and torch.cuda.is_available()
if _HAS_CUDA:
    _load(CUDA_PATH)

# MKL's vector functions detect the CPU at their first call, and not safely: on an Intel machine with AVX-512, a second
# thread that calls meanwhile may get exp with a relative error of 3e-9 in float64. One value keeps it to one thread.
torch.zeros(1, device="cpu").exp()


@torch.jit.unused
def has_kernel(tensor: Tensor) -> bool:
    """Whether the native ops run where `tensor` is; elsewhere their plain PyTorch definitions do."""
    return tensor.device.type in ("cpu", "meta") or (_HAS_CUDA and tensor.device.type == "cuda")


@torch.jit.unused
@torch.compiler.assume_constant_result
def precision() -> int:
    """What GPU kernels may round operands of their products to: 0, nothing; 1, tf32; 2, bfloat16.

    It is what ``torch.set_float32_matmul_precision`` says, "highest", "high" or "medium"; autocast allows bfloat16.
    """
    if torch.is_autocast_enabled("cuda"):
        return 2
    return ("highest", "high", "medium").index(torch.get_float32_matmul_precision())
