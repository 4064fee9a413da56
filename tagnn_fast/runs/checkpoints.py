"""Checkpoints: everything a run needs to go on as if it had never stopped. safetensors and JSON, nothing pickled."""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.files import new_folder, read_json, write_json
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.runs.configuration import configuration_from_json, configuration_json

FORMAT, VERSION = "tagnn_fast.checkpoint", 1
STATE = "state.json"
_AVERAGE = "average.safetensors"
REFIT = "refit-"  # names of checkpoints of the training on all sessions begin so
_ROWS = 1 << 16  # of a tensor that are read at once
_NAME = re.compile(r"(refit-)?epoch-\d+-step-\d+")


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: the current epoch, from 0.
        step: batches of it that are done.
        loss_sum: sum of the losses of the examples of those.
        seconds: what they took.
        history: one record per finished epoch of the training whose epochs the validation examples choose among.
        refit: the same of the training on all sessions that follows; None before it has begun, and where none does.
            Then `epoch` and what follows it are of that.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    refit: list[dict[str, Any]] | None = None

    @property
    def records(self) -> list[dict[str, Any]]:
        """One record per finished epoch of the present training."""
        return self.history if self.refit is None else self.refit


def save_tensors(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> None:
    """Write a safetensors file, with the SHA-256 of what is in it, which the format itself does not have.

    Raises:
        OSError: where it cannot be written, such as on a full disk.
    """
    path.touch()
    mode = path.stat().st_mode
    content = {name: value.contiguous().cpu() for name, value in tensors.items()}
    try:
        save_file(content, path, {**metadata, "sha256": digest_tensors(content)})
        path.chmod(mode)  # save_file leaves it to its owner alone
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ValueError: on a damaged file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            digest = (file.metadata() or {}).get("sha256")
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got a damaged one: {error}") from None
    _check_digest(path, digest, digest_tensors(tensors) if digest is not None else None)
    return tensors


def _check_digest(path: Path, written: str | None, found: str | None) -> None:
    if written is not None and written != found:  # earlier versions wrote none
        raise ValueError(f"{path}: expected the tensors that were written, got a damaged file")


def check_tensors(path: Path) -> None:
    """Refuse a damaged safetensors file, of which a block of rows is in memory at a time.

    Raises:
        ValueError: see :func:`load_tensors`.
    """
    found = hashlib.sha256()
    try:
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                values = file.get_slice(name)
                shape = tuple(values.get_shape())
                blocks = [file.get_tensor(name)] if 0 in (*shape[:1], len(shape)) else _blocks(values, shape[0])
                for number, block in enumerate(blocks):
                    if number == 0:
                        found.update(_heading(name, block.dtype, shape))
                    found.update(_bytes(block))
            digest = (file.metadata() or {}).get("sha256")
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got a damaged one: {error}") from None
    _check_digest(path, digest, found.hexdigest())


def _blocks(values: Any, rows: int) -> Iterator[Tensor]:
    """A slice of a file, so many rows at a time."""
    for row in range(0, rows, _ROWS):
        yield values[row : row + _ROWS]


def digest_of(path: Path) -> str:
    """SHA-256 of what is in a safetensors file: that of the file itself depends on the order of its metadata.

    Raises:
        ValueError: on a damaged file.
    """
    return digest_tensors(load_tensors(path))


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors on the CPU and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(_heading(name, value.dtype, tuple(value.shape)))
        digest.update(_bytes(value))
    return digest.hexdigest()


def _heading(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype} {shape}\n".encode()


def _bytes(value: Tensor) -> memoryview:
    return value.reshape(-1).view(torch.uint8).numpy().data


def load_parameters(model: SessionModel, path: Path) -> None:
    """Fill a model from a safetensors file.

    Raises:
        ValueError: where names, shapes or dtypes are not the model's.
    """
    _fill(model.state_dict(), load_tensors(path), path)


@torch.no_grad()
def _fill(values: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors of a file to those of the same names, which must be all there are."""
    for name in sorted(values.keys() | tensors.keys()):
        found, wanted = (_describe(group.get(name)) for group in (tensors, values))
        if found != wanted:
            raise ValueError(f"{path}: expected {name} of {wanted}, got {found}: it belongs to another configuration")
    for name, value in tensors.items():
        values[name].copy_(value)


def load_learnt(baseline: Baseline, path: Path) -> None:
    """Fill a baseline from a safetensors file.

    Raises:
        ValueError: where it is damaged, or what a baseline of other options has learnt.
    """
    learnt = load_tensors(path)
    try:
        baseline.load(learnt)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _describe(value: Tensor | None) -> str:
    return "no such parameter" if value is None else f"{value.dtype} {tuple(value.shape)}"


def save_checkpoint(
    folder: Path,
    model: SessionModel,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    configuration: Mapping[str, Any],
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a checkpoint into the folder, then remove the older ones. It is there whole, or the older ones stay.

    Args:
        folder: of the checkpoints.
        model: as it stands.
        optimizer: its state.
        progress: where the run stands.
        configuration: of the run.
        average: of the model's weights, where there is one.

    Raises:
        OSError: where it cannot be written.
    """
    path = folder / checkpoint_name(progress)
    if (path / STATE).exists():
        return path
    names = _names_by_index(model, optimizer)
    state = optimizer.state_dict()["state"]
    optimizer_tensors = {
        f"{kind}.{names[index]}": value for index, values in state.items() for kind, value in values.items()
    }
    with new_folder(path) as temporary:
        save_tensors(model.state_dict(), temporary / "model.safetensors")
        save_tensors(optimizer_tensors, temporary / "optimizer.safetensors")
        save_tensors(_random_states(), temporary / "random.safetensors")
        if average is not None:
            save_tensors(average, temporary / _AVERAGE)
        content = {"format": FORMAT, "version": VERSION, "progress": asdict(progress), "configuration": configuration}
        write_json(temporary / STATE, content)
    remove_others(path)
    return path


def remove_others(path: Path) -> None:
    """Remove the checkpoints beside this one."""
    for other in path.parent.iterdir():
        if _NAME.fullmatch(other.name) and other != path:
            (other / STATE).unlink(missing_ok=True)  # first: a folder without it is no checkpoint
            shutil.rmtree(other)


def checkpoint_name(progress: Progress) -> str:
    """The name of the folder that holds it."""
    return f"{'' if progress.refit is None else REFIT}epoch-{progress.epoch:03d}-step-{progress.step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    whole = [path for path in folder.glob("*") if _NAME.fullmatch(path.name) and (path / STATE).exists()]
    return sorted(whole, key=lambda path: (path.name.startswith(REFIT), *map(int, re.findall(r"\d+", path.name))))


def load_checkpoint(
    path: Path,
    model: SessionModel,
    optimizer: torch.optim.Optimizer,
    configuration: Mapping[str, Any],
    average: Mapping[str, Tensor] | None = None,
) -> Progress:
    """Put a run back where it was when the checkpoint was written: what it is given is filled.

    Raises:
        ValueError: on a damaged checkpoint, or one of another configuration or a newer version.
    """
    progress = read_progress(read_json(path / STATE, FORMAT, VERSION), path, configuration)
    load_parameters(model, path / "model.safetensors")
    _load_optimizer(model, optimizer, path / "optimizer.safetensors", begun=progress.epoch + progress.step > 0)
    _load_random_states(path / "random.safetensors")
    if average is not None:
        _fill(average, load_tensors(path / _AVERAGE), path / _AVERAGE)
    return progress


def read_progress(content: Mapping[str, Any], path: Path, configuration: Mapping[str, Any]) -> Progress:
    """Where a run of this configuration stands, by what a checkpoint says.

    Raises:
        ValueError: on a damaged checkpoint, or one of another configuration.
    """
    saved = configuration_json(*configuration_from_json(content.get("configuration"), path / STATE))
    differing = [
        f"{part}.{name}: {saved[part][name]!r} instead of {value!r}"
        for part, values in configuration.items()
        for name, value in values.items()
        if saved[part][name] != value
    ]
    if differing:
        raise ValueError(f"{path}: expected a checkpoint of this configuration, got {'; '.join(differing)}")
    return _progress(content, path / STATE)


def _progress(content: Mapping[str, Any], path: Path) -> Progress:
    saved = content.get("progress")
    expected = [field.name for field in fields(Progress)]
    if not isinstance(saved, dict) or {"refit", *saved} != set(expected):  # earlier versions know of no refit
        raise ValueError(f"{path}: expected where the run stands ({', '.join(expected)}), got {_short(saved)}")
    progress = Progress(**saved)
    for name, value, valid in (
        ("epoch", progress.epoch, _is_count(progress.epoch)),
        ("step", progress.step, _is_count(progress.step)),
        ("loss_sum", progress.loss_sum, _is_finite(progress.loss_sum)),
        ("seconds", progress.seconds, _is_finite(progress.seconds)),
        ("history", progress.history, isinstance(progress.history, list)),
        ("refit", progress.refit, progress.refit is None or isinstance(progress.refit, list)),
    ):
        if not valid:
            raise ValueError(f"{path}: expected {name} of where the run stands, got {_short(value)}")
    if len(progress.records) != progress.epoch or path.parent.name != checkpoint_name(progress):
        raise ValueError(
            f"{path}: expected the state of {path.parent.name} with a record of each epoch, got "
            f"{checkpoint_name(progress)} with {len(progress.records)}"
        )
    for records in (progress.history, progress.refit or []):
        for number, record in enumerate(records, start=1):
            if not _is_record(record, number) or _figures_of(record) != _figures_of(records[0]):
                raise ValueError(f"{path}: expected the record of epoch {number}, got {_short(record)}")
    return progress


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_record(record: object, number: int) -> bool:
    if not isinstance(record, dict) or not _is_count(record.get("epoch")) or record["epoch"] != number:
        return False
    figures = record.get("validation", {})
    numbers = [record.get(name) for name in ("learning_rate", "training_loss", "training_seconds")]
    return isinstance(figures, dict) and all(map(_is_finite, (*numbers, *figures.values())))


def _figures_of(record: Mapping[str, Any]) -> list[str]:
    return sorted(record.get("validation", {}))


def _short(value: object) -> str:
    return reprlib.repr(value)


def _names_by_index(model: SessionModel, optimizer: torch.optim.Optimizer) -> list[str]:
    """The model's name of each parameter, in the order in which the optimiser's state numbers them."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]


def _load_optimizer(model: SessionModel, optimizer: torch.optim.Optimizer, path: Path, begun: bool) -> None:
    tensors = load_tensors(path)
    expected = {
        f"{kind}.{name}": () if kind == "step" else tuple(value.shape)
        for name, value in model.named_parameters()
        for kind in ("step", "exp_avg", "exp_avg_sq")
        if begun and value.requires_grad
    }
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != expected:
        differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(f"{path}: expected the optimiser's state of this model, got another for {differing[0]}")
    state: dict[int, dict[str, Tensor]] = {}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    for index, name in enumerate(_names_by_index(model, optimizer)):
        if begun and name in trained:
            state[index] = {kind: tensors[f"{kind}.{name}"] for kind in ("step", "exp_avg", "exp_avg_sq")}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _load_random_states(path: Path) -> None:
    states = load_tensors(path)
    try:
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: expected states of random generators, got {error}") from None


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states
