"""The model's item vectors, and the items most like others by them."""

from __future__ import annotations

import math
import random

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Vocabulary
from tagnn_fast.recommender import Recommender
from tests.small_recommender import COUNTS, ITEMS, make


@pytest.mark.parametrize("strings", [False, True])
def test_item_vectors(strings: bool) -> None:
    recommender = make(strings=strings)
    table = recommender.item_vectors()
    assert table.schema == pa.schema(
        {"item": pa.string() if strings else pa.int64(), "vector": pa.list_(pa.float32(), 8)}
    )
    assert table["item"].to_pylist() == recommender.vocabulary.raw_ids.to_pylist()
    weight = recommender.model.item_embedding.weight[1:].detach().float()
    assert table["vector"].to_pylist() == weight.tolist()
    titles = pa.array(["a", None, *["b"] * (ITEMS - 2)])
    titled = Vocabulary(recommender.vocabulary.raw_ids, COUNTS, titles)
    assert Recommender(recommender.model, titled).item_vectors()["title"].to_pylist() == titles.to_pylist()


def cosine(one: list[float], other: list[float]) -> float:
    lengths = [math.sqrt(math.fsum(value * value for value in vector)) for vector in (one, other)]
    if not all(lengths):
        return 0.0
    return math.fsum(x * y for x, y in zip(one, other, strict=True)) / lengths[0] / lengths[1]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, ITEMS), max_size=4), st.integers(1, 40), st.randoms(use_true_random=False))
def test_similar_by_hand(asked: list[int], k: int, chance: random.Random) -> None:
    """Cosines of small whole numbers, of which many are equal; equal ones by index, the item itself left out."""
    recommender = make()
    vectors = [[float(chance.randrange(-1, 2)) for _ in range(8)] for _ in range(ITEMS)]
    vectors[4] = vectors[20] = [0.0] * 8
    with torch.no_grad():
        recommender.model.item_embedding.weight[1:] = torch.tensor(vectors)
    expected = []
    for item in asked:
        cosines = {
            other: round(cosine(vectors[item - 1], vectors[other - 1]) * 2**24) / 2**24 for other in range(1, ITEMS + 1)
        }
        best = sorted((other for other in cosines if other != item), key=lambda other: (-cosines[other], other))[:k]
        expected += [(100 + item, rank, 100 + other, cosines[other]) for rank, other in enumerate(best, 1)]
    table = recommender.similar([100 + item for item in asked], k)
    columns = [table[name].to_pylist() for name in ("item", "rank", "similar", "cosine")]
    assert list(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e200])
def test_similar_at_any_scale(scale: float) -> None:
    """The length of a vector is no matter, also where its square is no number."""
    recommender = make()
    expected = recommender.similar([105, 107], 29)
    with torch.no_grad():
        recommender.model.item_embedding.weight *= scale
    assert recommender.similar([105, 107], 29)["similar"].equals(expected["similar"])


def test_similar_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more items than are looked for at once, among more than are held at once."""
    everything = make().similar(range(101, 131), 6)
    monkeypatch.setattr("tagnn_fast.recommender._QUERIES", 7)
    monkeypatch.setattr("tagnn_fast.recommender._BLOCK", 11)
    assert make().similar(range(101, 131), 6).equals(everything)
    assert make(strings=True).similar(["105"], 3)["similar"].to_pylist() == [
        str(row["similar"]) for row in everything.to_pylist() if row["item"] == 105 and row["rank"] <= 3
    ]
    assert make().similar(pa.array([105]), 3).equals(make().similar([105], 3))
    chunks = pa.chunked_array([["105"], ["101"]])
    assert make(strings=True).similar(chunks, 3).equals(make(strings=True).similar(["105", "101"], 3))
    assert make().similar([], 3).schema == everything.schema


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        ([101, 999], ValueError, "ids: expected items of the data set, got 999"),
        (["shoe"], ValueError, "ids: expected items of the data set, got 'shoe'"),
        ("101", TypeError, "item ids: expected several, got str '101'"),
        ([1.5], TypeError, "item ids: expected integers, as the data set's are, got float 1.5"),
    ],
)
def test_similar_errors(ids: list[object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        make().similar(ids)
    assert str(error.value) == message


def test_similar_by_vectors_that_are_no_numbers() -> None:
    recommender = make()
    with torch.no_grad():
        recommender.model.item_embedding.weight[9] = float("inf")
    with pytest.raises(FloatingPointError, match="^item vectors: expected finite numbers"):
        recommender.similar([101])
