"""Checkpoints of two shards go on in two, in one, and become a plain model."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tagnn_fast.nn import TAGNNPP, ModelConfig
from tagnn_fast.parallel.sharded_checkpoints import load_sharded, load_whole, save_sharded, whole_state
from tagnn_fast.parallel.sharded_model import ShardedModel
from tagnn_fast.runs.checkpoints import save_tensors
from tagnn_fast.training.steps import make_optimizer
from tests.parallel import sharded_work as work
from tests.parallel.conftest import Processes
from tests.support import assert_near, batch, random_sessions

SESSIONS = [random_sessions((3, 1, 8), work.ITEMS), random_sessions((5, 2), work.ITEMS, seed=1)]
TARGETS = [[1, 50, 96], [2, 49]]
MODEL = ("tagnn_pp", torch.float64, {})


def step(model: ShardedModel, optimizer: torch.optim.Optimizer, which: list[int]) -> None:
    """One step on the sessions that these processes have in two."""
    sessions = [session for number in which for session in SESSIONS[number]]
    targets = [target for number in which for target in TARGETS[number]]
    optimizer.zero_grad()
    model.loss(*batch(sessions), torch.tensor(targets)).backward()
    model.reduce_gradients()
    optimizer.step()


def begin(group: Any = None) -> tuple[ShardedModel, torch.optim.Optimizer]:
    model = ShardedModel.of_whole(work.make_model(*MODEL), group)
    return model, make_optimizer(model, 1e-5, torch.device("cpu"))


def save_and_go_on(rank: int, folder: Path) -> dict[str, Tensor]:
    """The weights one step after the checkpoint."""
    model, optimizer = begin()
    for _ in range(3):
        step(model, optimizer, [rank])
    save_sharded(folder, model, optimizer, {"step": 3})
    step(model, optimizer, [rank])
    return work.own_state(model)


def go_on(rank: int, folder: Path) -> dict[str, Tensor]:
    model, optimizer = begin()
    assert load_sharded(folder, model, optimizer) == {"step": 3}
    step(model, optimizer, [rank])
    return work.own_state(model)


def go_on_in_one(rank: int, folder: Path, again: Path) -> dict[str, Tensor]:
    """The same in the first process alone, which writes a checkpoint before."""
    group = dist.new_group([0])
    if rank != 0:
        return {}
    model, optimizer = begin(group)
    load_sharded(folder, model, optimizer)
    save_sharded(again, model, optimizer, {"step": 3})
    step(model, optimizer, [0, 1])
    return work.own_state(model)


def test_goes_on(processes: Processes, tmp_path: Path) -> None:
    """In two processes to the bit; in one, and in two after that, but for rounding."""
    folder, again = tmp_path / "two", tmp_path / "one"
    wanted = work.put_together(processes.run(save_and_go_on, folder))
    found = work.put_together(processes.run(go_on, folder))
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    in_one = work.put_together(processes.run(go_on_in_one, folder, again)[:1])
    after_one = work.put_together(processes.run(go_on, again))
    for name, value in wanted.items():
        assert_near(in_one[name], value, 1, 1e-12)
        assert_near(after_one[name], value, 1, 1e-12)

    state, other = whole_state(folder), whole_state(again)
    model = work.make_model(*MODEL)
    model.load_state_dict(state)
    assert all(torch.equal(other[name], value) for name, value in state.items())
    assert not any(path.suffix not in {".safetensors", ".json"} for path in folder.rglob("*") if path.is_file())


def refused(rank: int, folder: Path, config: ModelConfig) -> str:
    model = ShardedModel.new(TAGNNPP, config, 0)
    try:
        load_sharded(folder, model, make_optimizer(model, 0.0, torch.device("cpu")))
    except ValueError as error:
        return str(error)
    return ""


def test_refuses_others(processes: Processes, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    processes.run(save_and_go_on, folder)
    wider = processes.run(refused, folder, ModelConfig(work.ITEMS, hidden_size=14))
    assert all(f"{folder}/model: expected a checkpoint of this model, got " in message for message in wider)
    more = processes.run(refused, folder, ModelConfig(work.ITEMS + 1, hidden_size=12))
    assert all(f"{folder}/model: expected a checkpoint of this model, got " in message for message in more)
    path = next((folder / "model").iterdir())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected the tensors that were written, got a damaged file or none"):
        whole_state(folder)


def filled(rank: int, path: Path) -> str:
    """What is said of a file of a plain network's weights; nothing where they are taken, by the first process alone."""
    group = dist.new_group([0])
    if rank != 0:
        return ""
    try:
        load_whole(begin(group)[0], path)
    except ValueError as error:
        return str(error)
    return ""


def test_weights_of_a_plain_network(processes: Processes, tmp_path: Path) -> None:
    """Those of another are refused."""
    state = work.make_model(*MODEL).state_dict()
    path = tmp_path / "model.safetensors"
    save_tensors(state, path)
    assert processes.run(filled, path) == ["", ""]
    save_tensors({name: value.float() for name, value in state.items()}, path)
    assert "in torch.float64, got torch.float32" in processes.run(filled, path)[0]
    save_tensors({**state, "another": torch.zeros(2)}, path)
    assert "expected the weights of this network, got another beside them" in processes.run(filled, path)[0]


def fill_the_disk(rank: int, folder: Path) -> str:
    model, optimizer = begin()
    step(model, optimizer, [rank])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        save_sharded(folder, model, optimizer, {"step": 1})
    except OSError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    return ""


def test_full_disk(processes: Processes, tmp_path: Path) -> None:
    """One line in each process, and no part of a checkpoint."""
    messages = processes.run(fill_the_disk, tmp_path / "checkpoint")
    assert all("expected to write a checkpoint, got rank " in message for message in messages), messages
    assert all("\n" not in message for message in messages)
    assert not (tmp_path / "checkpoint").exists()


def new_model(rank: int) -> tuple[dict[str, Tensor], Tensor]:
    model = ShardedModel.new(TAGNNPP, ModelConfig(work.ITEMS, hidden_size=12), 3).eval()
    return work.own_state(model), model.topk(*batch(SESSIONS[rank]), 5)[1]


def test_new_model(processes: Processes) -> None:
    """Rows of their own, everything else the same."""
    answers = processes.run(new_model)
    state = work.put_together([answer[0] for answer in answers])
    table = state["item_embedding.weight"]
    assert table.shape == (work.ITEMS + 1, 12)
    assert table.unique(dim=0).shape == table.shape
    model = TAGNNPP(ModelConfig(work.ITEMS, hidden_size=12)).eval()
    model.load_state_dict(state)
    wanted = model.topk(*batch([*SESSIONS[0], *SESSIONS[1]]), 5)[1]
    assert torch.equal(torch.cat([answer[1] for answer in answers]), wanted)
