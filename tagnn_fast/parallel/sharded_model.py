"""A network whose item table lies in shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tagnn_fast import checks
from tagnn_fast.nn.architectures import BUILT_IN
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.parallel import sharded_ops
from tagnn_fast.parallel.collectives import Group
from tagnn_fast.parallel.item_shard import ItemShard, rows_of_each
from tagnn_fast.parallel.processes import process_seed

TABLE = "item_embedding.weight"


def check_separable(config: ModelConfig) -> None:
    """Refuse options that need vectors of items which lie in other shards.

    Raises:
        ValueError: naming the first.
    """
    for name in ("neighbour_weight", "neighbour_attention", "repeats"):
        if value := getattr(config, name):
            none = False if value is True else 0
            raise ValueError(f"{name}: expected {none} with a catalogue in shards, got {value}")


def check_in_shards(architecture: str, config: ModelConfig, processes: int) -> None:
    """Refuse networks that cannot lie in so many shards.

    Raises:
        ValueError: naming what is in the way.
    """
    if architecture not in BUILT_IN:  # which may look at the whole table, or have another one
        raise ValueError(
            f"architecture: expected one of {', '.join(BUILT_IN)} with a catalogue in shards, got {architecture}"
        )
    rows_of_each(config.num_items, processes)
    check_separable(config)


class ShardedModel(nn.Module):
    """A network on the processes of a group: each holds some rows of the item table, and all other parameters.

    Each process gives it sessions of its own. All must call the same method at the same time, also those that have no
    session left; only :meth:`forward`, :meth:`loss`, :meth:`losses` and :meth:`topk` are there. What they compute
    is what the network computes for the sessions of all processes, but for rounding.

    Made by :meth:`of_whole` or :meth:`new`.

    Attributes:
        model: the network, without an item table: its own methods but `encode` do not work any more.
        shard: which rows of the table are here.
        rows: these, float (rows, hidden).
    """

    def __init__(self, model: SessionModel, rows: Tensor, shard: ItemShard) -> None:
        super().__init__()
        check_separable(model.config)
        model.item_embedding = _ShardedEmbedding(rows, shard)  # type: ignore[assignment]
        model.has_plain_encoder = False  # the op that encodes at once takes the whole table
        self.model, self.shard = model, shard

    @classmethod
    def of_whole(cls, model: SessionModel, group: Group = None) -> ShardedModel:
        """A network cut in shards.

        Args:
            model: the same on all processes; it belongs to the sharded one from then on.
            group: the processes; None for all.

        Raises:
            ValueError: on a network that mixes neighbours' vectors into an item's, or one with fewer items than
                processes can share.
        """
        shard = ItemShard(model.config.num_items, group)
        return cls(model, model.item_embedding.weight[shard.rows].detach().clone(), shard)

    @classmethod
    def new(
        cls, make: Callable[[ModelConfig], SessionModel], config: ModelConfig, seed: int, group: Group = None
    ) -> ShardedModel:
        """A network with new parameters, whose whole item table never is in one place.

        Args:
            make: makes the network of a configuration: its class, for one.
            config: of the whole network.
            seed: rows are drawn from this and the process's rank, all other parameters from this.
            group: the processes; None for all.

        Raises:
            ValueError: see :meth:`of_whole`.
        """
        shard = ItemShard(config.num_items, group)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(process_seed(seed, shard.rank) if shard.rank else seed)
            rows = shard.rows.stop - shard.rows.start
            model = make(replace(config, num_items=rows - 1))  # and a padding item: as many rows as are here
        model.config = config
        sharded = cls(model, model.item_embedding.weight.detach(), shard)
        for value in sharded.state_dict(keep_vars=True).values():
            if value is not sharded.rows:
                dist.broadcast(value.detach(), group=group, group_src=0)
        return sharded

    @property
    def rows(self) -> nn.Parameter:  # noqa: D102 (an attribute of the class)
        embedding: nn.Module = self.model.item_embedding
        assert isinstance(embedding, _ShardedEmbedding)
        return embedding.rows

    def item_vectors(self) -> Tensor:
        """The vectors of this process's items, float (items, hidden), as sessions are scored by them."""
        vectors = self.model.finished(self.rows)
        return vectors[1:] if self.shard.rank == 0 else vectors

    def losses(self, items: Tensor, offsets: Tensor, targets: Tensor, padded_length: int | None = None) -> Tensor:
        """See :meth:`SessionModel.losses`: of this process's sessions, over the whole catalogue."""
        encoded = self.model.encode(items, offsets, padded_length)
        return sharded_ops.cross_entropy(encoded, self.item_vectors(), targets - 1, self.shard)

    def loss(self, items: Tensor, offsets: Tensor, targets: Tensor, padded_length: int | None = None) -> Tensor:
        """A share of the mean over the sessions of all processes, whose sum over these is that mean: a scalar.

        So its gradients are to be summed over the processes, by :meth:`reduce_gradients`.

        Raises:
            TypeError, ValueError: see :meth:`SessionModel.loss`; but a process may have no session.
        """
        self._check(items, offsets, padded_length)
        if targets.numel() or offsets.numel() > 1:
            checks.check_targets(targets, offsets, self._whole_table())
        total = torch.tensor(targets.shape[0], device=targets.device)
        dist.all_reduce(total, group=self.shard.group)
        return self.losses(items, offsets, targets, padded_length).sum() / total

    def topk(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        padded_length: int | None = None,
        candidates: Tensor | None = None,
        exclude_clicked: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`SessionModel.topk`: lists of this process's sessions; `k` and candidates are the same on all.

        Raises:
            TypeError, ValueError: see :meth:`SessionModel.topk`.
        """
        self._check(items, offsets, padded_length)
        k = checks.check_k(k, self.shard.num_items)
        if candidates is not None:
            checks.check_integer_vector(candidates, "candidates")
            checks.check_item_ids(candidates, "candidates", self.shard.num_items)
        with torch.no_grad():
            scores, rows = sharded_ops.topk(
                self.model.encode(items, offsets, padded_length),
                self.item_vectors(),
                k,
                self.shard,
                candidates - 1 if candidates is not None else None,
                items - 1 if exclude_clicked else None,
                offsets if exclude_clicked else None,
            )
        return scores, rows + 1

    forward = topk

    def named_state(self) -> dict[str, Tensor]:
        """All that a checkpoint holds of the network, by its names there; the rows are called as the whole table is."""
        state = {name.removeprefix("model."): value for name, value in self.state_dict(keep_vars=True).items()}
        return {TABLE if value is self.rows else name: value for name, value in state.items()}

    def reduce_gradients(self) -> None:
        """Sum the gradients of what all processes have over them, in one message; those of rows are whole already."""
        gradients = [value.grad for value in self.parameters() if value is not self.rows and value.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(message, group=self.shard.group)
        for gradient, total in zip(gradients, message.split([value.numel() for value in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def _whole_table(self) -> Tensor:
        """Of the shape that checks of ids want; without memory."""
        return self.rows.new_empty(1).expand(self.shard.num_items + 1, 1)

    def _check(self, items: Tensor, offsets: Tensor, padded_length: int | None) -> None:
        checks.check_sessions(items, offsets, self._whole_table())
        checks.check_padded_length(padded_length)


class _ShardedEmbedding(nn.Module):
    """In place of the embedding; it has no `weight`, so that whoever takes this for a whole table fails."""

    def __init__(self, rows: Tensor, shard: ItemShard) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.shard = shard

    def forward(self, items: Tensor) -> Tensor:
        """Vectors of items, float (any, hidden), of ids, int64 (any,)."""
        return sharded_ops.look_up(self.rows, items, self.shard)
