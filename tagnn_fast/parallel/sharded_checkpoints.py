"""Checkpoints of a catalogue in shards: each process writes its rows, and any number of them reads what it needs.

They are written and read by torch.distributed.checkpoint, as safetensors with JSON beside them; nothing is pickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from tagnn_fast.files import describe_file, new_folder, read_json, write_json
from tagnn_fast.parallel.sharded_model import TABLE, ShardedModel

FORMAT, VERSION = "tagnn_fast.sharded_checkpoint", 1
_STATE, _MODEL, _OPTIMIZER = "state.json", "model", "optimizer"
_KINDS = ("step", "exp_avg", "exp_avg_sq")


def save_sharded(
    folder: Path, model: ShardedModel, optimizer: torch.optim.Optimizer, training: Mapping[str, Any]
) -> None:
    """Write a checkpoint, which is there whole or not at all; all processes call it, and see the same folders.

    Args:
        folder: that does not exist yet.
        model: as it stands.
        optimizer: Adam or AdamW, after a step at least.
        training: what else it goes on from, for JSON; the first process's is written.

    Raises:
        FileExistsError, OSError: where it cannot be written.
        ValueError: on an optimiser that has taken no step.
    """
    if not optimizer.state:
        raise ValueError("optimizer: expected one that has taken a step, got a new one")
    if model.shard.rank == 0:
        with new_folder(folder) as temporary:
            _save(temporary, model, optimizer)
            files = [
                {**describe_file(path), "name": str(path.relative_to(temporary))}
                for path in sorted(temporary.rglob("*.safetensors"))
            ]
            content = {"format": FORMAT, "version": VERSION, "training": dict(training), "files": files}
            write_json(temporary / _STATE, content)
    else:
        _save(None, model, optimizer)
    dist.barrier(group=model.shard.group)


def _save(folder: Path | None, model: ShardedModel, optimizer: torch.optim.Optimizer) -> None:
    """Write tensors to the folder that the first process says."""
    group, where = model.shard.group, [folder]
    dist.broadcast_object_list(where, group=group, group_src=0)
    for part, tensors in ((_MODEL, model.named_state()), (_OPTIMIZER, _state_of(model, optimizer))):
        writer = HuggingFaceStorageWriter(f"{where[0]}/{part}", save_distributed=True)
        try:
            dcp.save(_as_whole(model, tensors), storage_writer=writer, process_group=group)
        except dcp.api.CheckpointException as error:  # no Exception; of all processes, with what each of them met
            reasons = "; ".join(f"rank {rank}: {reason[0]}" for rank, reason in error.failures.items())
            raise OSError(f"{where[0]}: expected to write a checkpoint, got {' '.join(reasons.split())}") from None


def load_sharded(folder: Path, model: ShardedModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Fill a model and its optimiser from a checkpoint of any number of processes; all processes call it.

    Returns:
        What else was saved.

    Raises:
        ValueError: on a damaged checkpoint, or one of another model.
    """
    training = _checked(folder, model.shard.rank, model.shard.processes)
    tensors = model.named_state()
    names = _names_by_index(model, optimizer)
    trained = {index: name for index, name in enumerate(names) if tensors[name].requires_grad}
    state = {
        f"{kind}.{name}": torch.zeros(()) if kind == "step" else torch.zeros_like(tensors[name], requires_grad=False)
        for name in trained.values()
        for kind in _KINDS
    }
    for part, parts in ((_MODEL, tensors), (_OPTIMIZER, state)):
        _load(folder / part, _as_whole(model, parts), process_group=model.shard.group)
    by_index = {index: {kind: state[f"{kind}.{name}"] for kind in _KINDS} for index, name in trained.items()}
    optimizer.load_state_dict({"state": by_index, "param_groups": optimizer.state_dict()["param_groups"]})
    return training


def whole_state(folder: Path) -> dict[str, Tensor]:
    """The state of a plain network, by its names, of a checkpoint in shards; in one process, without a group.

    Raises:
        ValueError: on a damaged checkpoint.
    """
    _checked(folder, 0, 1)
    found = HuggingFaceStorageReader(str(folder / _MODEL)).read_metadata().state_dict_metadata
    state = {
        name: torch.empty(value.size, dtype=value.properties.dtype)
        for name, value in found.items()
        if isinstance(value, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as wanted
        _load(folder / _MODEL, state, no_dist=True)
    return state


def gather_whole(model: ShardedModel) -> dict[str, Tensor] | None:
    """The state of the plain network, in the memory of the first process's host; None on the others."""
    rows, shard, group = model.rows.detach(), model.shard, model.shard.group
    if shard.rank > 0:
        dist.send(rows, group=group, group_dst=0)
        return None
    table = torch.empty((shard.num_items + 1, rows.shape[1]), dtype=rows.dtype)
    for rank, part in enumerate(table.tensor_split(shard.starts[1:])):
        received = rows if rank == 0 else rows.new_empty(part.shape)
        if rank > 0:
            dist.recv(received, group=group, group_src=rank)
        part.copy_(received)
    others = {name: value.detach().cpu() for name, value in model.named_state().items()}
    return {**others, TABLE: table}


@torch.no_grad()
def load_whole(model: ShardedModel, path: Path) -> None:
    """Fill a model from the safetensors file of the plain network, of which each process reads its rows.

    Raises:
        ValueError: on a damaged file, or one of another network.
    """
    shard, state = model.shard, model.named_state()
    try:
        with safe_open(path, "pt") as file:
            if others := sorted(file.keys() - state.keys()):
                raise ValueError(f"{path}: expected the weights of this network, got {others[0]} beside them")
            for name, value in state.items():
                found = file.get_slice(name)
                rows = (shard.num_items + 1, *value.shape[1:]) if name == TABLE else value.shape
                if tuple(found.get_shape()) != tuple(rows):
                    raise ValueError(f"{path}: expected {name} of {tuple(rows)}, got {tuple(found.get_shape())}")
                read = found[shard.rows] if name == TABLE else file.get_tensor(name)
                if read.dtype != value.dtype:
                    raise ValueError(f"{path}: expected {name} in {value.dtype}, got {read.dtype}")
                value.copy_(read)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected the weights of this network, got {error}") from None


def _load(folder: Path, state: Mapping[str, Tensor], **how: Any) -> None:
    try:
        dcp.load(dict(state), storage_reader=HuggingFaceStorageReader(str(folder)), **how)
    except (dcp.api.CheckpointException, SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: expected a checkpoint of this model, got {' '.join(str(error).split())}") from None


def _checked(folder: Path, rank: int, processes: int) -> dict[str, Any]:
    """What else was saved in a checkpoint whose files are as they were written; each process looks at some of them."""
    content = read_json(folder / _STATE, FORMAT, VERSION)
    for record in content["files"][rank::processes]:
        path = folder / record["name"]
        if not path.is_file() or describe_file(path)["sha256"] != record["sha256"]:
            raise ValueError(f"{path}: expected the tensors that were written, got a damaged file or none")
    training: dict[str, Any] = content["training"]
    return training


def _state_of(model: ShardedModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = _names_by_index(model, optimizer)
    state = optimizer.state_dict()["state"]
    return {f"{kind}.{names[index]}": values[kind] for index, values in state.items() for kind in _KINDS}


def _names_by_index(model: ShardedModel, optimizer: torch.optim.Optimizer) -> list[str]:
    names = {id(value): name for name, value in model.named_state().items()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]


def _as_whole(model: ShardedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, those of rows as parts of whole ones."""
    shard, rows = model.shard, model.rows
    group = shard.group if shard.group is not None else dist.group.WORLD
    assert group is not None
    mesh = DeviceMesh.from_group(group, rows.device.type)

    def whole(value: Tensor) -> Tensor:
        shape, stride = torch.Size((shard.num_items + 1, value.shape[1])), (value.shape[1], 1)
        return DTensor.from_local(value.detach(), mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)

    return {
        name: whole(value) if name.endswith(TABLE) and value.dim() == 2 else value.detach()
        for name, value in tensors.items()
    }
