"""Loads the native ops into PyTorch, once, when the package is imported."""

from pathlib import Path

import torch
from torch import Tensor

_PATH = Path(__file__).parent / "libtagnn_fast_ops.so"

if not _PATH.exists():
    raise ImportError(
        f"tagnn_fast: expected the compiled ops at {_PATH}, found none. This looks like a source tree that was never "
        "built: run `pip install .`, or `pip install -e .` to work on it, and import from there."
    )
torch.ops.load_library(_PATH)


def has_kernel(tensor: Tensor) -> bool:
    """Whether the native ops run where `tensor` is; elsewhere their plain PyTorch definitions do."""
    return tensor.device.type in ("cpu", "meta")
