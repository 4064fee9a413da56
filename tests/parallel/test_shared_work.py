"""Processes that share steps and scoring compute what one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.parallel import shared_work as work
from tests.parallel.conftest import Processes

COSINE = {"cosine_scale": 9.0, "learned_scale": True, "learned_share": True}
TRAINED = {
    "tagnn_pp": {},
    "sr_gnn": {"architecture": "sr_gnn"},
    "attention_enhanced": {"architecture": "attention_enhanced"},
    "published": {"semantics": "published"},
    "recipe": {**COSINE, "recency": "nodes", "highway": True, "gradient_clipping": 0.05, "weight_averaging": 0.9},
    "neighbours": {"neighbour_weight": 0.3},
    "repeats": {"repeats": True, "star": True, "click_counts": True, "edge_counts": True, "adaptive_clipping": 0.05},
    "neighbours by attention": {**COSINE, "neighbour_attention": True, "repeats": True},
    "weighted": {"example_half_life": 0.2},
    "in parts": {"max_clicks_per_batch": 30},
    "fewer examples than processes": {"batch_size": 1},
}


@pytest.mark.parametrize(("precision", "bound"), [("64-true", 1e-10), ("32-true", 1e-5)])
@pytest.mark.parametrize("trained", TRAINED)
def test_same_losses_and_weights(processes: Processes, trained: str, precision: str, bound: float) -> None:
    """Though the second process has fewer examples than the first, and in some steps none."""
    options: dict[str, Any] = {**TRAINED[trained], "precision": precision}
    (losses, weights), other = processes.run(work.take_steps, options)
    assert losses == other[0]
    assert all(torch.equal(value, other[1][name]) for name, value in weights.items())
    wanted_losses, wanted_weights = work.take_steps(None, options)
    assert losses == pytest.approx(wanted_losses, rel=0, abs=bound)
    torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=bound)
    assert losses[-1] != losses[0]


@pytest.mark.parametrize("trained", ["tagnn_pp", "in parts"])
def test_same_where_the_data_set_stays_on_the_device(processes: Processes, trained: str) -> None:
    options: dict[str, Any] = {**TRAINED[trained], "precision": "64-true"}
    (losses, weights), _ = processes.run(work.take_steps, options, True)
    wanted_losses, wanted_weights = work.take_steps(None, options, True)
    assert losses == pytest.approx(wanted_losses, rel=0, abs=1e-10)
    torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"architecture": "sr_gnn"}, {"cosine_scale": 9.0}, {"max_clicks_per_batch": 30}]
)
def test_table_is_summed_while_the_encoder_goes_back(processes: Processes, options: dict[str, Any]) -> None:
    """Its sum has begun before any gradient of the encoder is known, in the last part if there is more than one."""
    for events in processes.run(work.order_of_gradients, options):
        sent = events.index("sent")
        known = [name for name in events[sent + 1 :] if name.startswith(("propagation", "readout", "transformer"))]
        assert len(known) == len(set(known)) > 5
        assert not events[:sent] or "max_clicks_per_batch" in options
        assert events[-1] == "item_embedding.weight"


@pytest.mark.parametrize("examples", [1, 60])  # the second process has no batch; one fewer than the first
def test_same_figures_and_ranks(examples: int, processes: Processes) -> None:
    """To the bit, and progress is that of all."""
    for figures, ranked, told in processes.run(work.rank_examples, examples):
        wanted, wanted_ranked, wanted_told = work.rank_examples(None, examples)
        assert (figures, ranked.figures, ranked.lists) == (wanted, wanted_ranked.figures, wanted_ranked.lists)
        assert torch.equal(ranked.ranks, wanted_ranked.ranks)
        assert sum(told) == sum(wanted_told) == examples


def test_agreement(processes: Processes) -> None:
    answer = ["some words — and others", 70_000, [1, 2], [0, -1], True, False]
    assert processes.run(work.agree) == [answer, answer]
