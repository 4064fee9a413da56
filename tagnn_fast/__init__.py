"""Fast TAGNN++: session-based recommendation with native kernels for session graphs, propagation and attention."""

import torch  # noqa: F401  (the native modules need its libraries)

from tagnn_fast._C import build_information, cpu_capability, set_cpu_capability
from tagnn_fast.batch import SessionBatch
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.published import from_published
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP
from tagnn_fast.ops import library  # noqa: F401  (registers torch.ops.tagnn_fast)
from tagnn_fast.serving.served_model import load
from tagnn_fast.version import __version__

__all__ = [
    "SRGNN",
    "TAGNN",
    "TAGNNPP",
    "ModelConfig",
    "SessionBatch",
    "__version__",
    "build_information",
    "cpu_capability",
    "from_published",
    "load",
    "set_cpu_capability",
]
