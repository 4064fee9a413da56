"""A run's network with its item table in shards, as services load exported ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from safetensors import safe_open
from torch import Tensor

from tagnn_fast.runs.in_shards import recommender_in_shards
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.serving.formats import Best, Choice
from tagnn_fast.serving.manifest import described
from tagnn_fast.serving.served_model import ServedModel
from tagnn_fast.serving.serving_model import ServingModel


@contextmanager
def served_in_shards(
    run: Run | str | Path, devices: int | None = None, num_nodes: int | None = None
) -> Iterator[ServedModel | None]:
    """A run's network for :func:`tagnn_fast.serving.app`, its item table in rows on several processes.

    It answers as what was exported of the run does, as long as the block runs and all processes do; but it gives
    neither scores of all items nor weights of clicks.

    Args:
        run: of a network; or its folder, which all processes see.
        devices: processes on this machine, see :func:`tagnn_fast.recommender_in_shards`.
        num_nodes: machines, see there.

    Yields:
        On the first process, what answers; on others that torchrun has started, None, when the first has ended.

    Raises:
        TypeError, ValueError, FileNotFoundError, LostProcessError: see :func:`tagnn_fast.recommender_in_shards`.
        FloatingPointError: on vectors that are not finite.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    with recommender_in_shards(opened, devices, num_nodes) as recommender:
        if recommender is None:
            yield None
            return
        model = ServingModel(recommender.ranker, opened.vocabulary)
        yield ServedModel(_manifest(opened), opened.vocabulary, _InShards(model), "shards")


def _manifest(run: Run) -> dict[str, Any]:
    """Of an exported folder's, what is asked of it."""
    with safe_open(run.weights, "pt") as file:
        digest = (file.metadata() or {}).get("sha256")
    written = datetime.fromtimestamp(run.weights.stat().st_mtime, UTC)
    return {
        **described(run),
        "created": written.isoformat(timespec="seconds"),
        "k_max": len(run.vocabulary),
        "can_explain": False,
        "weights": digest,
    }


class _InShards:
    """See :class:`~tagnn_fast.serving.formats.Format`."""

    can_explain: bool | None = False

    def __init__(self, model: ServingModel) -> None:
        self._best = model.forward_indices if model.has_strings else model.forward

    def best(self, items: Tensor, offsets: Tensor, k: int, choice: Choice) -> Best:
        return self._best(items, offsets, k, *choice)

    def scores(self, *_: Any) -> NoReturn:
        raise NotImplementedError("scores: expected a model in one place, got item vectors in shards")

    explain = scores  # which nobody asks what cannot explain
