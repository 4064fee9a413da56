"""What TensorBoard shows of a run, step by step: the files in its folder ``tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """Figures of a run by its steps.

    Args:
        folder: of the run; None where another process writes.
        steps_done: where the run goes on; what was shown of later steps is taken back.
    """

    def __init__(self, folder: Path | None, steps_done: int) -> None:
        self._writer: SummaryWriter | None = None
        if folder is not None:
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

    def show_step(self, loss: float, steps_done: int, refit: bool) -> None:
        """The loss of a step, on all sessions or not."""
        self._show({f"{_tag(refit)}/loss of the last step": loss}, steps_done)

    def show_epoch(self, record: Mapping[str, Any], steps_done: int, validation_name: str) -> None:
        """An epoch's record, as in ``history.json``."""
        tag = _tag("refit" in record)
        figures = {f"{tag}/loss": record["training_loss"], f"{tag}/learning rate": record["learning_rate"]}
        validation = record.get("validation", {})
        self._show(
            {**figures, **{f"{validation_name}/{name}": value for name, value in validation.items()}}, steps_done
        )

    def flush(self) -> None:
        """Wait until the files have it."""
        if self._writer is not None:
            self._writer.flush()

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def _show(self, figures: Mapping[str, float], steps_done: int) -> None:
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, steps_done)


def _tag(refit: bool) -> str:
    return "training on all sessions" if refit else "training"
