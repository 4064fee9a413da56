"""What each process does in the tests of shared steps and shared scoring, and the same in one process."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from tagnn_fast.data import PrefixExamples, synthetic_dataset
from tagnn_fast.data.examples import shuffled
from tagnn_fast.evaluation.ranks import RankedTargets, rank_targets
from tagnn_fast.evaluation.scoring import model_topk, score
from tagnn_fast.parallel.processes import ALONE, Processes
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.training import steps as steps_module
from tagnn_fast.training.device import make_fabric
from tagnn_fast.training.gradient_sum import GradientSum
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.steps import ResidentSteps, begin_training, set_learning_rate

DATASET = synthetic_dataset(clicks=420, items=60)
EXAMPLES = PrefixExamples(DATASET.train)
STEPS = 20
Outcome = tuple[list[float], dict[str, Tensor]]


def all_processes(rank: int | None) -> Processes:
    return ALONE if rank is None else Processes(rank, dist.get_world_size(), rank, True)


def batch_size() -> int:
    """An odd one of which an epoch's last batch has one example: the second process has none left."""
    size = next(size for size in range(29, len(EXAMPLES), 2) if len(EXAMPLES) % size == 1)
    assert len(EXAMPLES) // size < STEPS - 1
    return size


def take_steps(rank: int | None, options: dict[str, Any], resident: bool = False) -> Outcome:
    """Losses of some steps over more than one epoch, and weights after them, averaged ones where there are such.

    With `resident`, the data set stays on the device, as on a GPU.
    """
    dropout = {} if options.get("architecture") == "sr_gnn" else {"attention_dropout": 0.0}
    options = {"hidden_size": 12, "batch_size": batch_size(), "accelerator": "cpu", **dropout, **options}
    config, training = resolve("clean", options, len(DATASET.vocabulary), EXAMPLES.longest_prefix())
    model = make_model(config, training)
    if model.neighbour_attention is not None:
        model.neighbour_attention.dropout = 0.0  # the masks of a part are not those of the whole
    with mock.patch.object(steps_module, "can_be_resident", return_value=resident):
        optimizer, steps = begin_training(make_fabric(training), model, training, EXAMPLES, all_processes(rank))
    assert isinstance(steps, ResidentSteps) == resident
    set_learning_rate(optimizer, training.learning_rate)
    in_epoch = -(-len(EXAMPLES) // training.batch_size)
    losses = []
    for number in range(STEPS):
        if number % in_epoch == 0:
            steps.begin_epoch(shuffled(len(EXAMPLES), 3, number // in_epoch))
        losses.append(float(steps.take(number % in_epoch)))
    scored = model if steps.average is None else steps.average.averaged(STEPS)
    return losses, {name: value.detach().clone() for name, value in scored.named_parameters()}


def rank_examples(rank: int | None, count: int) -> tuple[dict[str, float], RankedTargets, list[int]]:
    """Figures and ranks of a model by batches of 7, and what was told on the way."""
    options = {"hidden_size": 12, "accelerator": "cpu"}
    model = make_model(*resolve("clean", options, len(DATASET.vocabulary), 0)).eval()
    examples, told = PrefixExamples(DATASET.train, torch.arange(count)), list[int]()
    topk, here = model_topk(Recommender(model, DATASET.vocabulary), examples), all_processes(rank)
    figures = score(topk, examples, len(DATASET.vocabulary), 7, processes=here)
    return figures, rank_targets(topk, examples, DATASET.vocabulary, 7, told.append, here), told


def order_of_gradients(rank: int, options: dict[str, Any]) -> list[str]:
    """The names of parameters as their gradients are known in a step, and when that of the scores' table is sent."""
    config, training = resolve("clean", {"accelerator": "cpu", **options}, len(DATASET.vocabulary), 0)
    model, events = make_model(config, training), list[str]()
    _, steps = begin_training(make_fabric(training), model, training, EXAMPLES, all_processes(rank))
    for name, value in model.named_parameters():
        value.register_post_accumulate_grad_hook(lambda _, name=name: events.append(name))
    send = GradientSum._send

    def note_and_send(gradient_sum: GradientSum, table: Tensor) -> None:
        events.append("sent")
        send(gradient_sum, table)

    with mock.patch.object(GradientSum, "_send", note_and_send):
        steps.begin_epoch(shuffled(len(EXAMPLES), 3, 0))
        steps.take(0)
    return events


def agree(rank: int) -> list[Any]:
    """What the processes agree on."""
    here = all_processes(rank)
    texts = [here.told(text if here.is_first else "no") for text in ("some words — and others", "x" * 70_000)]
    values = [here.sum(torch.tensor([rank, 1])).tolist(), here.smallest(torch.tensor([rank, -rank])).tolist()]
    return [texts[0], len(texts[1]), *values, here.any(rank == 1), here.any(False)]
