"""A catalogue in two shards computes what one table does."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tagnn_fast.ops import EncodedSessions, encoded_sessions, session_graph, target_attention_topk
from tests.parallel import sharded_work as work
from tests.parallel.conftest import Processes
from tests.support import assert_near, batch, matmul_precision, random_sessions, random_tensors

ITEMS = work.ITEMS
COSINE = {"cosine_scale": 9.0, "learned_scale": True, "learned_share": True}
MODELS = {
    "tagnn_pp": ("tagnn_pp", {}),
    "sr_gnn": ("sr_gnn", {}),
    "published": ("tagnn_pp", {"semantics": "published", "padded_length": 9}),
    "recipe": ("tagnn_pp", {**COSINE, "recency": "nodes", "highway": True}),
}
EVEN = [random_sessions((3, 1, 8, 2), ITEMS), random_sessions((5, 5, 1, 4), ITEMS, seed=1)]
UNEVEN = [random_sessions((2,), ITEMS), random_sessions((5, 12, 1, 4, 3), ITEMS, seed=1)]
NONE_HERE = [random_sessions((2, 7, 7), ITEMS), []]
IN_FIRST_SHARD = [[3, 1, 48, 2], [7, 11, 1, 1]]
WHERE = {
    "even": (EVEN, [[1, 48, 49, 96], [20, 49, 70, 1]]),
    "uneven": (UNEVEN, [[50], [20, 49, 70, 1, 96]]),
    "no session in the second": (NONE_HERE, [[96, 1, 48], []]),
    "no target in the second": (EVEN, IN_FIRST_SHARD),
}


def flat(parts: Iterable[list[Any]]) -> list[Any]:
    return [*chain.from_iterable(parts)]


def in_one(architecture: str, dtype: torch.dtype, options: dict[str, Any], sessions: Any, targets: Any) -> Any:
    model = work.make_model(architecture, dtype, options)
    losses = model.losses(*batch(flat(sessions)), torch.tensor(flat(targets)))
    losses.mean().backward()
    return losses.detach(), work.gradients(model)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("model", MODELS)
def test_loss_and_gradients(processes: Processes, model: str, where: str, dtype: torch.dtype, bound: float) -> None:
    arguments = *MODELS[model], *WHERE[where]
    architecture, options, sessions, targets = arguments
    answers = processes.run(work.loss_and_gradients, architecture, dtype, options, sessions, targets)
    losses, wanted = in_one(architecture, dtype, options, sessions, targets)
    assert_near(torch.cat([answer[0] for answer in answers]), losses, bound)
    found = work.put_together([answer[1] for answer in answers])
    assert found.keys() == wanted.keys()
    scale = max(float(value.abs().max()) for value in wanted.values())
    for name, value in found.items():
        assert_near(value, wanted[name], bound, scale)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("model", ["tagnn_pp", "recipe"])
def test_training(processes: Processes, model: str, dtype: torch.dtype, bound: float) -> None:
    """Losses and weights of 20 steps; in the last, a process has no session."""
    architecture, options = MODELS[model]
    steps = []
    for seed in range(19):
        sessions = [random_sessions((3, 1, 4), ITEMS, seed), random_sessions((2, 6), ITEMS, seed + 50)]
        targets = [torch.randint(1, ITEMS + 1, (len(own),)).tolist() for own in sessions]
        steps.append([*zip(sessions, targets, strict=True)])
    steps.append([([], []), (EVEN[0], [1, 2, 3, 96])])
    answers = processes.run(work.train, architecture, dtype, options, steps)

    whole = work.make_model(architecture, dtype, options)
    optimizer = work.make_optimizer(whole, 1e-5, torch.device("cpu"))
    for number, step in enumerate(steps):
        optimizer.zero_grad()
        sessions, targets = (flat(parts) for parts in zip(*step, strict=True))
        loss = whole.loss(*batch(sessions), torch.tensor(targets))
        loss.backward()
        optimizer.step()
        assert_near(sum(answer[0][number] for answer in answers), loss.detach(), bound)
    found, wanted = work.put_together([answer[1] for answer in answers]), work.whole_state(whole)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert_near(value, wanted[name], 1, bound)


def encode(sessions: list[list[int]], dtype: torch.dtype, hidden: int = 20) -> EncodedSessions:
    graph = session_graph(*batch(sessions))
    slots, rows = graph.node_items.shape[0], graph.num_nodes.shape[0]
    return encoded_sessions(*random_tensors([(rows, hidden), (slots, hidden), (slots, hidden)], dtype), graph)


def parts_of(encoded: EncodedSessions, sessions: list[list[int]], cuts: list[int]) -> list[EncodedSessions]:
    """The same sessions, some in each process."""
    parts = []
    for first, end in pairwise(cuts):
        offsets = encoded.slot_offsets[first : end + 1]
        slots = slice(int(offsets[0]), int(offsets[-1]))
        keys, values, click_counts = (value[slots] for value in (encoded.keys, encoded.values, encoded.click_counts))
        own = encoded.session[first:end], keys, values, click_counts, encoded.padding[first:end], offsets - offsets[0]
        parts.append(EncodedSessions(*own))
    return parts


def assert_same_lists(answers: list[tuple[Tensor, Tensor]], wanted: tuple[Tensor, Tensor]) -> None:
    """To the bit, also what is not a number."""
    for found, expected in zip((torch.cat(parts) for parts in zip(*answers, strict=True)), wanted, strict=True):
        assert torch.equal(found.nan_to_num(77) if found.is_floating_point() else found, expected.nan_to_num(77))
        assert torch.equal(found.isnan(), expected.isnan())


CUTS = {"even": [0, 3, 6], "all in the second": [0, 0, 6]}
LISTS = random_sessions((3, 1, 8, 2, 30, 5), ITEMS)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float64, "highest"), *((torch.float32, name) for name in ("highest", "high", "medium"))],
)
@pytest.mark.filterwarnings("ignore:tagnn_fast. target attention stays in float32")
def test_lists(processes: Processes, dtype: torch.dtype, precision: str, cuts: str) -> None:
    """Those of the whole table to the bit, with ties across shards, a score that is not a number, and choices."""
    encoded = encode(LISTS, dtype)
    (table,) = random_tensors([(151, 20)], dtype)
    table[[3, 90, 140, 75, 76]] = table[10].clone()  # a tie of six, in both shards
    table[149] = torch.nan
    excluded = [torch.tensor([10, 90, 149, 75]), torch.tensor([0, 149, 3])]
    ends = torch.tensor([0, 2, 2, 4, 6, 6, 7])
    first = CUTS[cuts][1]
    if first == 0:
        excluded = [excluded[0][:0], torch.cat(excluded)]
    offsets = [ends[: first + 1], ends[first:] - ends[first]]
    candidates = torch.tensor([150, 90, 3, 3, 149, 7, 76, 75, 10])
    parts = parts_of(encoded, LISTS, CUTS[cuts])
    with matmul_precision(precision):
        for k, choice in ((10, ()), (151, (None, excluded, offsets)), (20, (candidates, excluded, offsets))):
            whole = (choice[0], torch.cat(excluded), ends) if choice else ()
            wanted = target_attention_topk(encoded, table, k, *whole)
            assert_same_lists(processes.run(work.best, parts, table, precision, k, *choice), wanted)


def test_lists_of_a_model(processes: Processes) -> None:
    choice = {"candidates": torch.arange(2, 90), "exclude_clicked": True}
    for architecture, options in MODELS.values():
        answers = processes.run(work.best_of_model, architecture, options, UNEVEN, 20, choice)
        wanted = work.make_model(architecture, torch.float64, options).eval().topk(*batch(flat(UNEVEN)), 20, **choice)
        assert torch.equal(torch.cat([items for _, items in answers]), wanted[1])
        assert_near(torch.cat([scores for scores, _ in answers]), wanted[0].detach(), 1e-12)


def test_refuses_what_other_shards_would_be_needed_for(processes: Processes) -> None:
    assert processes.run(work.message_of, "tagnn_pp", {"neighbour_weight": 0.5}) == 2 * [
        "neighbour_weight: expected 0 with a catalogue in shards, got 0.5"
    ]
    for name in ("neighbour_attention", "repeats"):
        assert processes.run(work.message_of, "tagnn_pp", {name: True}) == 2 * [
            f"{name}: expected False with a catalogue in shards, got True"
        ]


def test_refuses_choices_that_differ(processes: Processes) -> None:
    encoded = parts_of(encode(LISTS, torch.float32), LISTS, CUTS["even"])
    (table,) = random_tensors([(40, 20)], torch.float32)
    with pytest.raises(ValueError, match=r"^k: expected the same on all processes, got others$"):
        processes.run(work.best_with_own_k, encoded, table)
