"""The training loop on a catalogue in shards: what is different there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tagnn_fast.data.examples import PrefixExamples, parts
from tagnn_fast.evaluation.ranks import RankedTargets, rank_targets
from tagnn_fast.evaluation.scoring import score
from tagnn_fast.evaluation.sharded_lists import sharded_topk
from tagnn_fast.parallel.collectives import largest
from tagnn_fast.parallel.sharded_checkpoints import gather_whole, load_sharded, load_whole, save_sharded
from tagnn_fast.runs.checkpoints import STATE, Progress, check_tensors, checkpoint_name, read_progress, remove_others
from tagnn_fast.runs.in_shards import new_in_shards
from tagnn_fast.training.example_weights import weights_by_age
from tagnn_fast.training.loop import Training, train
from tagnn_fast.training.steps import Steps, make_optimizer


class ShardedTraining(Training):
    """Each process has some rows of the item table, and a share of every batch, also of those that are scored.

    Weights are drawn for each process's rows, so they are not those of a training in one process. Checkpoints are
    those of :mod:`tagnn_fast.parallel.sharded_checkpoints`; the run's own weights are a plain network's.
    """

    def _make(self, examples: PrefixExamples) -> None:
        options = self.run.training
        self.sharded = new_in_shards(self.run)
        self.model = self.sharded.model
        if self.run.initial_weights.exists():
            self._load_weights(self.run.initial_weights)
        how = options.optimizer, options.weight_decay_on
        self.optimizer = make_optimizer(self.sharded, options.weight_decay, self.fabric.device, *how)
        self.steps = ShardedSteps(self, examples)

    def _load(self, path: Path) -> Progress:
        return read_progress(load_sharded(path, self.sharded, self.optimizer), path, self.run.configuration)

    def _write_checkpoint(self) -> str:
        path = self.run.checkpoints / checkpoint_name(self.progress)
        if self.processes.any(self.processes.is_first and (path / STATE).exists()):
            return path.name
        content = {"progress": asdict(self.progress), "configuration": self.run.configuration}
        save_sharded(path, self.sharded, self.optimizer, content)
        if self.processes.is_first:
            remove_others(path)
        return path.name

    def _check_same(self) -> None:
        here = f"{self.progress}"
        if self.processes.any(self.processes.told(here) != here):
            raise ValueError(f"{self.run.folder}: expected the same checkpoint on all processes, got different ones")

    def _check_parameters(self) -> None:
        infinite = [name for name, value in self.model.named_parameters() if not bool(value.isfinite().all())]
        if self.processes.any(bool(infinite)):
            what = infinite[0] if infinite else "parameters of another process"
            raise FloatingPointError(f"{what}: expected finite parameters, got others: training diverged")

    def _keep_model(self, epoch: int) -> None:
        whole = gather_whole(self.sharded)
        if whole is not None:
            self.run.keep_model(whole, epoch)
        self.processes.wait()

    def _load_weights(self, path: Path) -> None:
        if self.processes.is_first:
            check_tensors(path)  # the others end with this one
        load_whole(self.sharded, path)

    def _evaluate(self, examples: PrefixExamples, what: str) -> dict[str, float]:
        self.observer.begin(what, len(examples))
        topk = sharded_topk(self.sharded, self.run.vocabulary, examples)
        return score(topk, examples, len(self.run.vocabulary), advance=self._advance)

    def _rank(self, examples: PrefixExamples) -> RankedTargets:
        topk = sharded_topk(self.sharded, self.run.vocabulary, examples)
        return rank_targets(topk, examples, self.run.vocabulary, advance=self._advance)


train_sharded = partial(train, kind=ShardedTraining)


class ShardedSteps(Steps):
    """Steps that all processes take together, part by part, also those that have fewer examples of a batch than others.

    Args:
        training: whose steps they are.
        examples: what is trained on.
    """

    def __init__(self, training: ShardedTraining, examples: PrefixExamples) -> None:
        options, self.sharded = training.run.training, training.sharded
        model, optimizer = training.fabric.setup(training.sharded, training.optimizer)
        model.mark_forward_method("losses")
        weights = weights_by_age(examples, options.example_half_life) if options.example_half_life else None
        how = options.batch_size, options.max_clicks_per_batch, weights
        clipping = options.adaptive_clipping  # of units, so of rows; what counts all of a gradient is refused
        super().__init__(training.fabric, model, optimizer, examples, *how, adaptive_clipping=clipping)
        self.processes = training.processes

    def take(self, number: int) -> Tensor:
        """See the base class."""
        places = self._places(number)
        own = places.tensor_split(self.processes.count)[self.processes.rank]  # maybe none
        own_parts = own.split(parts(self.lengths[own], self.most_clicks))
        (most,) = largest([len(own_parts)], torch.device("cpu"), None)
        return self._step([*own_parts, *[own[:0]] * (most - len(own_parts))], places.shape[0])

    def _step(self, own: Sequence[Tensor], examples: int) -> Tensor:
        self.optimizer.zero_grad()
        loss = torch.stack([self._gradient(part, 1 / examples, None) for part in own]).sum()
        self.sharded.reduce_gradients()
        self._update()
        return self.processes.sum(loss)

    def _mean_loss(self, places: Tensor, table: Tensor | None) -> Tensor:
        """The sum of these examples' losses, of which there may be none."""
        losses: Tensor = self.model.losses(*self.fabric.to_device(self.examples.cut(places)))
        if self.example_weights is not None:
            losses = losses * self.example_weights[places].to(losses.device)
        return losses.sum()
