"""Recommender: the model's top-k where it knows a click, the most popular items where it knows none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagnn_fast import TAGNNPP, ModelConfig
from tagnn_fast.baselines import VSTAN, SequentialRules
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.ops import target_attention_topk
from tagnn_fast.recommender import Recommender
from tests.small_recommender import ITEMS, MODELS, POPULAR, SESSIONS, make, raw, table_of
from tests.support import batch


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("semantics", ["clean", "published"])
def test_known_sessions(model: type[SessionModel], semantics: str) -> None:
    """What the model's own topk says."""
    recommender = make(model, semantics)
    inputs = batch(SESSIONS)
    for k in (1, 7, ITEMS):
        scores, items = recommender.model.topk(*inputs, k)
        best = recommender.topk(*inputs, k)
        assert torch.equal(best.items, items)
        assert torch.equal(best.scores, scores)
        assert best.known_clicks.tolist() == [len(session) for session in SESSIONS]
        assert (best.items.dtype, best.known_clicks.dtype) == (torch.int64, torch.int64)


def test_padded_length() -> None:
    recommender = make(semantics="published")
    inputs = batch(SESSIONS)
    assert torch.equal(recommender.topk(*inputs, 5, 40).scores, recommender.model.topk(*inputs, 5, 40)[0])
    assert not torch.equal(recommender.topk(*inputs, 5, 40).scores, recommender.topk(*inputs, 5).scores)
    for semantics in ("clean", "published"):
        with pytest.raises(ValueError, match="padded_length: expected 0 or more, got -5"):
            make(semantics=semantics).topk(*inputs, 5, -5)
        with pytest.raises(TypeError, match="padded_length: expected an int or None, got 'x'"):
            make(semantics=semantics).topk(*inputs, 5, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="screen: expected True or False, got 'yes'"):
        Recommender(recommender.model, recommender.vocabulary, screen="yes")  # type: ignore[arg-type]


def test_many_unknown_items_are_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those alone that there are, each once: each session gets a copy."""
    recommender, seen = make(), []
    best_rows = recommender.ranker.best_rows

    def watched(*arguments: Any) -> Any:
        seen.append(arguments[-1].tolist())
        return best_rows(*arguments)

    monkeypatch.setattr(recommender.ranker, "best_rows", watched)
    answer = recommender.recommend([[103], [104]], 3, exclude=[105, 7, 105, *range(10_000, 60_000)])
    assert seen == [(recommender.vocabulary.encode([105]) - 1).tolist()]
    assert answer == recommender.recommend([[103], [104]], 3, exclude=[105])


def test_bfloat16_table() -> None:
    """Scores are those of item vectors rounded to bfloat16; the model keeps its own."""
    exact = make()
    rounded = Recommender(exact.model, exact.vocabulary, bfloat16_table=True)
    inputs = batch(SESSIONS)
    before = exact.topk(*inputs, 5)
    encoded, table = exact.model.encode(*inputs), exact.model.item_embedding.weight[1:].bfloat16().double()
    expected, rows = target_attention_topk(encoded, table, 5)
    actual = rounded.topk(*inputs, 5)
    assert torch.equal(actual.scores, expected)
    assert torch.equal(actual.items, rows + 1)
    assert torch.equal(exact.topk(*inputs, 5).scores, before.scores)
    assert not torch.equal(actual.scores, before.scores)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.one_of(st.just(0), st.integers(1, ITEMS)), max_size=8), max_size=5),
    st.sampled_from(["clean", "published"]),
)
def test_unknown_items_are_skipped(sessions: list[list[int]], semantics: str) -> None:
    recommender = make(semantics=semantics)
    known = [[item for item in session if item] for session in sessions]
    best, without = recommender.topk(*batch(sessions), 6), recommender.topk(*batch(known), 6)
    torch.testing.assert_close(best.scores, without.scores, rtol=1e-10, atol=1e-14)
    assert torch.equal(best.items, without.items)
    assert torch.equal(best.known_clicks, without.known_clicks)
    assert best.known_clicks.tolist() == [len(session) for session in known]
    for session, items, scores in zip(known, best.items.tolist(), best.scores.tolist(), strict=True):
        if not session:
            assert items == POPULAR[:6]
            assert scores == [7.0] * 6
        else:
            assert items == recommender.model.topk(*batch([session]), 6)[1][0].tolist()


def test_nothing_known() -> None:
    """The most popular items, with their clicks in training."""
    best = make().topk(*batch([[], [0, 0], [2, 0]]), 8)
    assert best.items[:2].tolist() == [POPULAR] * 2
    assert best.scores[:2].tolist() == [[7.0] * 6 + [6.0] * 2] * 2
    assert best.known_clicks.tolist() == [0, 0, 1]
    assert best.items[2].tolist() != POPULAR


def test_evaluation_mode() -> None:
    """Dropout is off, whatever mode the model came in, and no graph is kept."""
    network = TAGNNPP(ModelConfig(ITEMS, hidden_size=8, attention_dropout=0.9)).train()
    recommender = Recommender(network, make().vocabulary)
    assert not recommender.model.training
    first, second = (recommender.topk(*batch(SESSIONS), 5).scores for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


@pytest.mark.parametrize("strings", [False, True])
def test_recommend(strings: bool) -> None:
    recommender = make(strings=strings)
    sessions: list[list[object]] = [[103, 999, 109], [998, 999], [], [105]]
    if strings:
        sessions = [[str(item) for item in session] for session in sessions]
    table = table_of(recommender, sessions, 3)
    raw_id = pa.string() if strings else pa.int64()
    assert table.schema == pa.schema(
        {
            "session": pa.int64(),
            "rank": pa.int32(),
            "item": raw_id,
            "score": pa.float64(),
            "answer": pa.string(),
            "skipped": pa.int64(),
        }
    )
    best = recommender.topk(*batch([[3, 0, 9], [0, 0], [], [5]]), 3)
    columns = table.to_pydict()
    assert columns["session"] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert columns["rank"] == [1, 2, 3] * 4
    ids = recommender.vocabulary.raw_ids.to_pylist()
    assert columns["item"] == [ids[item - 1] for item in best.items.flatten().tolist()]
    assert columns["score"] == best.scores.double().flatten().tolist()
    assert columns["answer"] == ["model"] * 3 + ["popularity"] * 6 + ["model"] * 3
    assert columns["skipped"] == [1] * 3 + [2] * 3 + [0] * 3 + [0] * 3


def test_default_k() -> None:
    assert table_of(make(), [[101]]).num_rows == 20


@pytest.mark.parametrize("strings", [False, True])
def test_no_sessions(strings: bool) -> None:
    """An empty table, of the same columns and types as any other."""
    recommender = make(strings=strings)
    for sessions in ([], pa.array([], pa.list_(pa.int64()))):
        table = table_of(recommender, sessions, 3)
        assert table.num_rows == 0
        assert table.schema == table_of(recommender, [[]], 3).schema


@pytest.mark.parametrize("strings", [False, True])
def test_arrow_lists(strings: bool) -> None:
    """Arrow lists, also windows of longer ones, give what Python lists give; a null is a session without clicks."""
    recommender = make(strings=strings)
    sessions: list[list[object]] = [[103], [104, 999], [], [105, 106], [107]]
    if strings:
        sessions = [[str(item) for item in session] for session in sessions]
    lists = pa.array(sessions)
    expected = table_of(recommender, sessions, 4)
    assert table_of(recommender, lists, 4).equals(expected)
    assert table_of(recommender, lists.slice(1, 3), 4).equals(table_of(recommender, sessions[1:4], 4))
    with_null = pa.array([sessions[0], None, *sessions[3:]])
    assert table_of(recommender, with_null, 4).equals(table_of(recommender, [sessions[0], [], *sessions[3:]], 4))


def test_other_sequences() -> None:
    """Tuples, NumPy arrays, and text that reads as an id."""
    recommender = make()
    expected = table_of(recommender, raw(SESSIONS), 5)
    for kind in (tuple, np.array):
        assert table_of(recommender, [kind(session) for session in raw(SESSIONS)], 5).equals(expected)
    as_text = [[str(item) for item in session] for session in raw(SESSIONS)]
    assert table_of(recommender, as_text, 5).equals(expected)
    assert table_of(make(strings=True), as_text, 5)["score"].equals(expected["score"])
    assert table_of(recommender, np.array([[103, 104], [105, 106]]), 5).equals(
        table_of(recommender, [[103, 104], [105, 106]], 5)
    )


@pytest.mark.parametrize(
    "kind",
    [pa.large_list(pa.int32()), pa.list_(pa.uint8(), 2), pa.list_view(pa.int64()), pa.large_list_view(pa.int64())],
    ids=str,
)
def test_arrow_lists_of_every_kind(kind: pa.DataType) -> None:
    """A null is a session without clicks, whatever lies below it."""
    lists = pa.array([[103, 104], None, [105, 106], [107, 108]], kind)
    expected = table_of(make(), [[], [105, 106], [107, 108]], 4)
    assert table_of(make(), lists.slice(1), 4).equals(expected)
    chunks = pa.chunked_array([lists.slice(1, 1), lists.slice(2)])
    assert table_of(make(), chunks, 4).equals(expected)
    hidden = pa.ListArray.from_arrays(pa.array([0, 1, 3]), pa.array([103, 105, 106]), mask=pa.array([True, False]))
    assert table_of(make(), hidden, 4).equals(table_of(make(), [[], [105, 106]], 4))


@pytest.mark.parametrize("session", [["a"], ["0103"], [2**63], [2**70], ["103 "]], ids=str)
def test_ids_that_no_item_has(session: list[object]) -> None:
    """They are unknown, whatever they look like."""
    assert table_of(make(), [[103, *session, 104]], 3).equals(table_of(make(), [[103, 999, 104]], 3))


@pytest.mark.parametrize("session", [[103.5], [103.0], [True], [None], [object()], [[103]], [b"103"]], ids=str)
@pytest.mark.parametrize("strings", [False, True])
def test_values_that_are_no_ids(session: list[object], strings: bool) -> None:
    with pytest.raises(TypeError, match="^item ids: expected "):
        table_of(make(strings=strings), [["103"], session], 3)


@pytest.mark.parametrize("session", [[103], ["103", 103], np.array([3])], ids=str)
def test_integers_where_ids_are_strings(session: list[object]) -> None:
    """Neither ids nor rows."""
    with pytest.raises(TypeError, match="^item ids: expected strings, as the data set's are, got int"):
        table_of(make(strings=True), [session], 3)


@pytest.mark.parametrize(
    "sessions", [["103"], [103, 104], [b"103"], [{103}], [{103: 1}], [None], [iter([103])]], ids=str
)
def test_sessions_that_are_no_lists(sessions: list[object]) -> None:
    with pytest.raises(TypeError, match="^sessions: expected a list of item ids each, got .* in sessions.0."):
        table_of(make(), sessions, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^sessions: expected lists of item ids, got int64"):
        table_of(make(), pa.array([103]), 3)


@pytest.mark.parametrize("model", MODELS)
def test_scores_that_are_no_number(model: type[SessionModel]) -> None:
    """Wherever the NaN is, it is noticed as soon as a score has it, also behind the best k."""
    inputs = batch([[1, 2, 1], [3]])
    noticed = 0
    for name, _ in model(ModelConfig(ITEMS, hidden_size=8)).named_parameters():
        recommender = make(model)
        with torch.no_grad():
            recommender.model.get_parameter(name)[-1] = float("nan")
        if torch.isfinite(recommender.model(*inputs)).all():
            continue
        noticed += 1
        for k in (1, ITEMS):
            with pytest.raises(FloatingPointError) as error:
                recommender.topk(*inputs, k)
            assert str(error.value) == "scores: expected finite numbers, got NaN or infinity: training diverged"
        with pytest.raises(FloatingPointError):
            table_of(recommender, [[101, 102, 101], [103]], 1)
    assert noticed > 5


def test_diverged_model_without_a_known_click() -> None:
    recommender = make()
    with torch.no_grad():
        for parameter in recommender.model.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        table_of(recommender, [[999]], 1)


@pytest.mark.parametrize(
    ("k", "kind", "message"),
    [
        (0, ValueError, "k: expected 1 or more, got 0"),
        (-1, ValueError, "k: expected 1 or more, got -1"),
        (1.7, TypeError, "k: expected an int, got 1.7"),
        (2.0, TypeError, "k: expected an int, got 2.0"),
        (True, TypeError, "k: expected an int, got True"),
        ("3", TypeError, "k: expected an int, got '3'"),
    ],
)
def test_k_errors(k: int, kind: type[Exception], message: str) -> None:
    for call in (
        lambda: make().topk(*batch([[1]]), k),
        lambda: table_of(make(), [[101]], k),
        lambda: make().similar([101], k),
    ):
        with pytest.raises(kind) as error:
            call()
        assert str(error.value) == message


def test_exclude_clicked_is_a_truth_value() -> None:
    """A text that says no is none."""
    for flag in ("no", 1, None):
        for call in (
            lambda flag=flag: make().topk(*batch([[1]]), 3, exclude_clicked=flag),
            lambda flag=flag: table_of(make(), [[101]], 3, exclude_clicked=flag),
        ):
            with pytest.raises(TypeError, match="^exclude_clicked: expected True or False, got "):
                call()
    for flag in (np.True_, np.False_):
        assert table_of(make(), [[101]], 3, exclude_clicked=flag).equals(
            table_of(make(), [[101]], 3, exclude_clicked=bool(flag))
        )


@pytest.mark.parametrize("k", [ITEMS + 1, 2**31, 2**70, np.int64(ITEMS), np.uint8(200)], ids=str)
def test_k_above_the_catalogue(k: int) -> None:
    """Gives what there is, for the model and for popular items."""
    recommender = make()
    assert recommender.topk(*batch([[1], []]), k).items.shape == (2, ITEMS)
    table = table_of(recommender, [[101], []], k)
    assert table.equals(table_of(recommender, [[101], []], ITEMS))
    assert sorted(table["item"].to_pylist()) == sorted([100 + item for item in range(1, ITEMS + 1)] * 2)
    assert recommender.similar([101], k).num_rows == ITEMS - 1


@pytest.mark.parametrize("model", [*MODELS, SequentialRules, VSTAN])
@pytest.mark.parametrize("k", [1, 5, ITEMS, 100])
def test_exclude_clicked(model: type[SessionModel | Baseline], k: int) -> None:
    """The whole ranking without what was clicked, cut at k; sessions of which nothing is known get what they got."""
    recommender = make(model)
    sessions = [[3, 9, 3], [], [0, 0], [5, 0], list(range(1, ITEMS)), list(range(1, ITEMS + 1))]
    asked = [[100 + item if item else 999 for item in session] for session in sessions]
    table = table_of(recommender, asked, k, exclude_clicked=True)
    everything = recommender.topk(*batch(sessions), ITEMS)
    expected = [
        (place, rank, 100 + item, score)
        for place, session in enumerate(sessions)
        for rank, (item, score) in enumerate(
            [
                pair
                for pair in zip(everything.items[place].tolist(), everything.scores[place].tolist(), strict=True)
                if pair[0] not in session
            ][:k],
            1,
        )
    ]
    assert (
        list(zip(*(table[name].to_pylist() for name in ("session", "rank", "item", "score")), strict=True)) == expected
    )
    assert {row["session"]: row["answer"] for row in table.to_pylist()} == {
        place: "popularity" if place in (1, 2) else "model" for place in range(5)
    }
    assert {row["session"]: row["skipped"] for row in table.to_pylist()} == dict(enumerate([0, 0, 2, 1, 0]))


def test_scores_of_excluded_items_are_no_matter() -> None:
    """Lists that end early are not taken for scores that are infinite; those that are still are."""
    recommender = make()
    assert recommender.topk(*batch([[1, 2]]), 30, exclude_clicked=True).items[0, 28:].tolist() == [0, 0]
    with torch.no_grad():
        recommender.model.item_embedding.weight[7] = float("nan")
    with pytest.raises(FloatingPointError):
        recommender.topk(*batch([[1, 2]]), 5, exclude_clicked=True)


def test_vocabulary_of_another_size() -> None:
    with pytest.raises(ValueError) as error:
        Recommender(TAGNNPP(ModelConfig(ITEMS + 1, hidden_size=8)), make().vocabulary)
    assert str(error.value) == "vocabulary: expected 31 items, got 30"


@pytest.mark.parametrize(
    ("items", "offsets", "error", "message"),
    [
        ([1, 31], [0, 2], ValueError, r"items: expected indices in 0..30, got 31"),
        ([-1, 3], [0, 2], ValueError, r"items: expected indices in 0..30, got -1"),
        ([1, 3], [0, 3], ValueError, "offsets: expected to rise from 0 to the number of clicks 2, got others"),
        ([1, 3], [0, 2, 1, 2], ValueError, "offsets: expected to rise"),
        ([1, 3], [], ValueError, "offsets: expected to rise"),
        ([1.5], [0, 1], TypeError, "items: expected int64, got float32"),
    ],
)
def test_wrong_batches(items: list[int], offsets: list[int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make().topk(torch.tensor(items), torch.tensor(offsets, dtype=torch.int64), k=3)
