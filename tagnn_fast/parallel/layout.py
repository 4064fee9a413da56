"""How many processes work together, and where this one stands among them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

import torch.distributed as dist

from tagnn_fast.checks import check_count
from tagnn_fast.parallel.processes import ALONE, Processes

Strategy = Literal["auto", "ddp", "sharded"]
_OF_OTHER_NODES = "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"


@dataclass(frozen=True)
class Layout:
    """Where a process stands.

    Attributes:
        processes: all of them, and which this is.
        devices: processes on each machine.
        started_by: who has started those of this machine: "torchrun"; "this", which is yet to start the others; or
            "first", where this is one that the first has started.
        address: machine of the first process.
        port: where it listens; 0 for one that is free.
        strategy: of the training.
    """

    processes: Processes = ALONE
    devices: int = 1
    started_by: Literal["torchrun", "this", "first"] = "this"
    address: str = "127.0.0.1"
    port: int = 0
    strategy: Strategy = "auto"


ONE_PROCESS = Layout()


def find_layout(devices: int | None = None, num_nodes: int | None = None, strategy: Strategy = "auto") -> Layout:
    """Where this process stands, which nobody else of the package has started.

    Args:
        devices: processes on each machine, each with a device of its own; None for one, or as many as torchrun started.
        num_nodes: machines; None for one, or as many as torchrun has. On each of several, torchrun or the same command
            is started, with MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment.
        strategy: "ddp": each process has the whole model and a share of each batch; "auto": that, where there is more
            than one; "sharded": each has some rows of the item table, see :class:`ShardedModel`.

    Raises:
        TypeError, ValueError: on a value that is refused.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy: expected one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    asked = {"devices": devices, "num_nodes": num_nodes}
    given = {name: check_count(value, name, 1) for name, value in asked.items() if value is not None}
    if dist.is_available() and dist.is_torchelastic_launched():
        found = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "num_nodes": int(os.environ["GROUP_WORLD_SIZE"])}
        for name, value in given.items():
            if value != found[name]:
                raise ValueError(f"{name}: expected {found[name]}, as torchrun has it, got {value}")
        is_group = int(os.environ["WORLD_SIZE"]) > 1 or strategy != "auto"
        return Layout(_of_environment(is_group), found["devices"], "torchrun", strategy=strategy)
    on_each, nodes = given.get("devices", 1), given.get("num_nodes", 1)
    is_group = on_each * nodes > 1 or strategy != "auto"
    if is_group and not dist.is_available():
        raise ValueError(f"devices: expected 1 with a PyTorch that has no torch.distributed, got {on_each * nodes}")
    if nodes == 1:
        return Layout(Processes(0, on_each, 0, is_group), on_each, strategy=strategy)
    if missing := [name for name in _OF_OTHER_NODES if name not in os.environ]:
        raise ValueError(
            f"num_nodes: expected {', '.join(_OF_OTHER_NODES)} in the environment with {nodes}, or torchrun, got no "
            f"{missing[0]}"
        )
    node, port = (check_count(_number(name), name, least) for name, least in (("NODE_RANK", 0), ("MASTER_PORT", 1)))
    if node >= nodes:
        raise ValueError(f"NODE_RANK: expected less than {nodes}, got {node}")
    processes = Processes(node * on_each, nodes * on_each, 0, is_group)
    return Layout(processes, on_each, address=os.environ["MASTER_ADDR"], port=port, strategy=strategy)


def layout_of_started() -> Layout:
    """Where a process stands that another of the package has started; see :meth:`environment_of`."""
    devices = int(os.environ["LOCAL_WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return Layout(_of_environment(), devices, "first", address, port)


def environment_of(local_rank: int, layout: Layout, port: int) -> dict[str, str]:
    """What tells a process that is started where it stands, under torchrun's names."""
    first = layout.processes
    values = {
        "RANK": first.rank + local_rank,
        "WORLD_SIZE": first.count,
        "LOCAL_RANK": local_rank,
        "LOCAL_WORLD_SIZE": layout.devices,
        "MASTER_ADDR": layout.address,
        "MASTER_PORT": port,
    }
    return {name: str(value) for name, value in values.items()}


def _of_environment(is_group: bool = True) -> Processes:
    rank, count, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Processes(rank, count, local_rank, is_group)


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise ValueError(f"{name}: expected an integer in the environment, got {os.environ[name]!r}") from None
