"""The device that a process trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tagnn_fast.parallel.layout import ONE_PROCESS, Layout
from tagnn_fast.runs.configuration import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(options: TrainingConfig, number: int = 0) -> Fabric:
    """One device, with its precision; matrix_precision is left to do the rest of "high" and "medium".

    Args:
        options: of the training.
        number: of the device among those of its kind; on the CPU, all are the same.

    Raises:
        ModuleNotFoundError: without Lightning Fabric.
        ValueError: on an accelerator that is unknown or not here.
    """
    from lightning_fabric import Fabric

    precision: Any = "32-true" if options.precision in ("high", "medium") else options.precision
    try:
        fabric = Fabric(accelerator=options.accelerator, devices=1, precision=precision)
        if number and fabric.device.type != "cpu":
            fabric = Fabric(accelerator=options.accelerator, devices=[number], precision=precision)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"accelerator: expected one that is here, got {options.accelerator!r}: {error}") from None
    return fabric


def check_devices(options: TrainingConfig, layout: Layout = ONE_PROCESS) -> None:
    """Refuse an accelerator that is not here, or of which there are fewer than processes.

    Raises:
        ValueError: naming it.
    """
    kind = make_fabric(options).device.type
    if not layout.processes.is_group or kind == "cpu":
        return
    if kind != "cuda":
        raise ValueError(f"accelerator: expected cpu or cuda with a process group, got {kind}")
    if (found := torch.cuda.device_count()) < layout.devices:
        raise ValueError(f"devices: expected at most {found}, the GPUs that are here, got {layout.devices}")
