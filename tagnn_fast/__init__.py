"""Fast TAGNN++: session-based recommendation with native kernels for session graphs, propagation and attention.

From clicks to a service: :func:`read_dataset` or :func:`prepare`, :func:`compare`, :func:`fit`, :func:`blend`,
:func:`evaluate`, :func:`open_run`, :func:`from_pretrained`, :func:`export`, :func:`load`. What they need beside PyTorch
is imported when they are used.
"""

from typing import TYPE_CHECKING

import torch  # noqa: F401  (the native modules need its libraries)

from tagnn_fast._C import build_information, cpu_capability, set_cpu_capability
from tagnn_fast.batch import SessionBatch
from tagnn_fast.lazy import when_used
from tagnn_fast.nn.architectures import register_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.published import from_published
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.nn.tagnn import TAGNN
from tagnn_fast.nn.tagnn_pp import TAGNNPP
from tagnn_fast.observer import Observer
from tagnn_fast.ops import library  # noqa: F401  (registers torch.ops.tagnn_fast)
from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.served_model import load
from tagnn_fast.version import __version__

if TYPE_CHECKING:
    from tagnn_fast.data.dataset import read_dataset, write_dataset
    from tagnn_fast.evaluation.evaluate import evaluate
    from tagnn_fast.experiments.compare import compare
    from tagnn_fast.experiments.tune import tune
    from tagnn_fast.logs.jobs import prepare
    from tagnn_fast.runs.in_shards import recommender_in_shards
    from tagnn_fast.runs.pretrained import from_pretrained
    from tagnn_fast.runs.run import open_run
    from tagnn_fast.serving.export import export
    from tagnn_fast.training.blend import blend
    from tagnn_fast.training.fit import fit

__all__ = [
    "SRGNN",
    "TAGNN",
    "TAGNNPP",
    "ModelConfig",
    "Observer",
    "Recommendations",
    "SessionBatch",
    "SessionModel",
    "__version__",
    "blend",
    "build_information",
    "compare",
    "cpu_capability",
    "evaluate",
    "export",
    "fit",
    "from_pretrained",
    "from_published",
    "load",
    "open_run",
    "prepare",
    "read_dataset",
    "recommender_in_shards",
    "register_architecture",
    "set_cpu_capability",
    "tune",
    "write_dataset",
]

__getattr__ = when_used(
    __name__,
    {
        "blend": "training.blend",
        "compare": "experiments.compare",
        "evaluate": "evaluation.evaluate",
        "export": "serving.export",
        "fit": "training.fit",
        "from_pretrained": "runs.pretrained",
        "open_run": "runs.run",
        "prepare": "logs.jobs",
        "recommender_in_shards": "runs.in_shards",
        "tune": "experiments.tune",
        "read_dataset": "data.dataset",
        "write_dataset": "data.dataset",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
