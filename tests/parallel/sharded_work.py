"""What each process does in the tests of a catalogue in shards, and the same in one process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tagnn_fast.nn.architectures import find_architecture
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops import EncodedSessions
from tagnn_fast.parallel import sharded_ops
from tagnn_fast.parallel.item_shard import ItemShard
from tagnn_fast.parallel.sharded_model import ShardedModel
from tagnn_fast.training.steps import make_optimizer
from tests.support import batch, matmul_precision

ITEMS = 96  # and the padding item: 97 rows, 49 and 48
Sessions = list[list[int]]
Tensors = dict[str, Tensor]


def make_model(architecture: str, dtype: torch.dtype, options: dict[str, Any]) -> SessionModel:
    """The same in every process; without dropout, whose masks depend on where a session stands."""
    torch.manual_seed(5)
    config = ModelConfig(ITEMS, hidden_size=12, attention_dropout=0.0, **options)
    return find_architecture(architecture)(config).to(dtype)


def make_sharded(architecture: str, dtype: torch.dtype, options: dict[str, Any]) -> ShardedModel:
    return ShardedModel.of_whole(make_model(architecture, dtype, options))


def whole_state(model: SessionModel) -> Tensors:
    return {name: value.detach() for name, value in model.named_parameters()}


def own_state(model: ShardedModel) -> Tensors:
    return {name.removeprefix("model."): value.detach() for name, value in model.named_parameters()}


def gradients(model: torch.nn.Module) -> Tensors:
    return {
        name.removeprefix("model."): value.grad for name, value in model.named_parameters() if value.grad is not None
    }


def put_together(states: list[Tensors]) -> Tensors:
    """Of a whole model: rows one below the other, and all others, which must be the same to the bit."""
    whole = {"item_embedding.weight": torch.cat([state.pop("item_embedding.rows") for state in states])}
    for name, value in states[0].items():
        assert all(torch.equal(state[name], value) for state in states), name
        whole[name] = value
    return whole


def loss_and_gradients(
    rank: int, architecture: str, dtype: torch.dtype, options: dict[str, Any], sessions: list[Sessions], targets: Any
) -> tuple[Tensor, Tensors]:
    """This process's losses, and the gradients of the mean over all."""
    model = make_sharded(architecture, dtype, options)
    own = *batch(sessions[rank]), torch.tensor(targets[rank], dtype=torch.int64)
    with torch.no_grad():
        losses = model.losses(*own)
    model.loss(*own).backward()
    model.reduce_gradients()
    return losses, gradients(model)


def train(
    rank: int, architecture: str, dtype: torch.dtype, options: dict[str, Any], steps: list[list[Any]]
) -> tuple[list[Tensor], Tensors]:
    """Losses of each step, and the weights after the last; every step has sessions and targets of each process."""
    model = make_sharded(architecture, dtype, options)
    optimizer = make_optimizer(model, 1e-5, torch.device("cpu"))
    losses = []
    for step in steps:
        sessions, targets = step[rank]
        optimizer.zero_grad()
        loss = model.loss(*batch(sessions), torch.tensor(targets, dtype=torch.int64))
        loss.backward()
        model.reduce_gradients()
        optimizer.step()
        losses.append(loss.detach())
    return losses, own_state(model)


def best_of_model(
    rank: int, architecture: str, options: dict[str, Any], sessions: list[Sessions], k: int, choice: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    model = make_sharded(architecture, torch.float64, options).eval()
    return model.topk(*batch(sessions[rank]), k, **choice)


def best(
    rank: int, encoded: list[EncodedSessions], table: Tensor, precision: str, k: int, *choice: Any
) -> tuple[Tensor, Tensor]:
    """Lists of this process's sessions; excluded items and their offsets are a process's own."""
    shard = ItemShard(table.shape[0])
    own = table[shard.first_item : shard.rows.stop - 1]
    candidates, excluded, offsets = choice or (None, None, None)
    with matmul_precision(precision):
        of_own = (excluded[rank], offsets[rank]) if excluded is not None else (None, None)
        return sharded_ops.topk(encoded[rank], own, k, shard, candidates, *of_own)


def message_of(rank: int, architecture: str, options: dict[str, Any]) -> str:
    """What making a model in shards is refused with."""
    try:
        make_sharded(architecture, torch.float32, options)
    except ValueError as error:
        return str(error)
    return ""


def best_with_own_k(rank: int, encoded: list[EncodedSessions], table: Tensor) -> tuple[Tensor, Tensor]:
    return best(rank, encoded, table, "highest", 3 + rank)
