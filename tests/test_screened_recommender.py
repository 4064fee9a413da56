"""A recommender's screen: the same lists as without, and none from a screen of other item vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch

from tagnn_fast import TAGNNPP, ModelConfig
from tagnn_fast.data import Vocabulary
from tagnn_fast.recommender import Recommender
from tests.support import batch, random_sessions

ITEMS = 8200  # so many are screened
SESSIONS = [[3, 9, 3], [5], *random_sessions((4, 1, 7), ITEMS)]


def make(screen: bool = True, bfloat16_table: bool = False, items: int = ITEMS) -> Recommender:
    torch.manual_seed(0)
    model = TAGNNPP(ModelConfig(items, hidden_size=32))
    with torch.no_grad():
        model.item_embedding.weight.mul_(5)
    return of(model, screen, bfloat16_table)


def of(model: TAGNNPP, screen: bool = True, bfloat16_table: bool = False) -> Recommender:
    items = model.config.num_items
    return Recommender(model, Vocabulary(pa.array(range(items)), np.ones(items, np.int64)), bfloat16_table, screen)


def assert_same_answers(actual: Recommender, expected: Recommender) -> None:
    for session in SESSIONS:
        best, other = (recommender.topk(*batch([session]), 20) for recommender in (actual, expected))
        assert torch.equal(best.items, other.items)
        assert torch.equal(best.scores, other.scores)


@pytest.mark.parametrize("bfloat16_table", [False, True])
def test_same_lists(bfloat16_table: bool) -> None:
    recommender = make(bfloat16_table=bfloat16_table)
    assert recommender.ranker.is_screened
    assert_same_answers(recommender, make(False, bfloat16_table))
    best = [recommender.topk(*batch(SESSIONS), 20, exclude_clicked=True).items for _ in range(2)]
    assert torch.equal(*best)


def test_where_it_does_not_help() -> None:
    assert not make(items=300).ranker.is_screened
    assert not of(TAGNNPP(ModelConfig(ITEMS, hidden_size=8)).double()).ranker.is_screened
    assert not of(TAGNNPP(ModelConfig(ITEMS, hidden_size=8)), screen=False).ranker.is_screened
    with torch.inference_mode():  # writes to such tensors are not counted
        assert not of(TAGNNPP(ModelConfig(ITEMS, hidden_size=8))).ranker.is_screened


def step(optimizer: type[torch.optim.Optimizer], **options: bool) -> Callable[[TAGNNPP], None]:
    def change(model: TAGNNPP) -> None:
        optimizer(model.parameters(), lr=0.5, **options)  # type: ignore[call-arg]
        model.loss(*batch(SESSIONS), torch.arange(1, 6)).backward()
        optimizer(model.parameters(), lr=0.5, **options).step()  # type: ignore[call-arg]

    return change


@torch.no_grad()
def fill(model: TAGNNPP) -> None:
    model.item_embedding.weight[77] = 4


@torch.inference_mode()
def fill_in_inference_mode(model: TAGNNPP) -> None:
    model.item_embedding.weight[77] = 4


def load(model: TAGNNPP) -> None:
    model.load_state_dict(TAGNNPP(model.config).state_dict())


def replace(model: TAGNNPP) -> None:
    model.item_embedding.weight = torch.nn.Parameter(-model.item_embedding.weight.detach())


def replace_data(model: TAGNNPP) -> None:
    """Twice, so that the memory of the first is free for the third."""
    for _ in range(2):
        model.item_embedding.weight.data = -0.5 * model.item_embedding.weight.data


@pytest.mark.parametrize(
    "change",
    [
        fill,
        fill_in_inference_mode,
        load,
        replace,
        replace_data,
        step(torch.optim.SGD),
        step(torch.optim.Adam, foreach=True),
    ],
)
def test_changed_vectors(change: Callable[[TAGNNPP], None]) -> None:
    """A screen made before is left alone."""
    recommender = make()
    assert_same_answers(recommender, make(False))
    change(recommender.model)
    expected = of(recommender.model, False)
    assert_same_answers(recommender, expected)
    recommender.ranker.refresh_screen()
    assert_same_answers(recommender, expected)


def write_to_data(model: TAGNNPP) -> None:
    model.item_embedding.weight.data.mul_(-0.7)


@pytest.mark.parametrize("change", [write_to_data, step(torch.optim.Adam, fused=True)])
def test_uncounted_changes(change: Callable[[TAGNNPP], None]) -> None:
    """PyTorch does not count these; that the screen is of other vectors is found when it is used."""
    recommender = make()
    assert_same_answers(recommender, make(False))
    change(recommender.model)
    try:
        assert_same_answers(recommender, of(recommender.model, False))
    except RuntimeError as error:
        assert "screen: expected what item_screen makes of this table" in str(error)  # noqa: PT017
    recommender.ranker.refresh_screen()
    assert_same_answers(recommender, of(recommender.model, False))
