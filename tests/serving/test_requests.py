"""What may be asked of a served model: ids of the model's own type, any k, and lists without what was clicked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import tagnn_fast
from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.served_model import FORMATS
from tests.serving.folders import (
    ITEMS,
    K_MAX,
    assert_same_lists,
    eager,
    make_export,
    make_run,
    sample_sessions,
    without_own,
)
from tests.support import assert_near, batch

FORMAT = pytest.mark.parametrize("format", FORMATS)
OFFSETS = torch.tensor([0, 2])


@FORMAT
def test_strings_refuse_integers(format: str) -> None:
    """Row numbers are never taken for ids."""
    served, rows = tagnn_fast.load(make_export(strings=True), format), torch.tensor([10, 11])
    for session in ([10, 11], [np.int64(10)], ["item-13", 2], [True], [None], [1.0], torch.tensor([1])):
        for method in (served.recommend, served.recommend_strings):
            with pytest.raises(TypeError, match="^item ids: expected strings as in the model, got "):
                method([session], 3)
    with pytest.raises(TypeError, match="^items: expected strings as the model's item ids.* got a tensor"):
        served(rows, OFFSETS, 3)
    for call in (
        lambda: served.scores(rows, OFFSETS),
        lambda: served.explain(rows, OFFSETS, ["item-13"]),
        lambda: served.explain(["item-13", "item-23"], OFFSETS, torch.tensor([1])),
    ):
        with pytest.raises(TypeError, match="expected a list of strings as the model's item ids, got a tensor"):
            call()


def test_scripted_strings_refuse_integers() -> None:
    """Without the package as well."""
    model, ids = torch.jit.load(make_export(strings=True) / "model.ts"), torch.tensor([10, 11])
    calls: dict[str, tuple[Any, ...]] = {
        "recommend": ([[10, 11]], 3),
        "forward": (ids, OFFSETS, 3),
        "scores": (ids, OFFSETS),
        "item_ids": (),
        "explain": (ids, OFFSETS, ids[:1]),
    }
    for method, arguments in calls.items():
        with pytest.raises(torch.jit.Error, match=f"{method}: expected a model whose item ids are integers, got one"):
            getattr(model, method)(*arguments)
    model = torch.jit.load(make_export() / "model.ts")
    calls = {f"{name}_indices": arguments for name, arguments in calls.items() if name not in ("recommend", "item_ids")}
    for method, arguments in {**calls, "item_indices": (["13"],), "item_strings": ()}.items():
        with pytest.raises(torch.jit.Error, match=f"{method}: expected a model whose item ids are strings, got one"):
            getattr(model, method)(*arguments)


def test_program_of_strings_goes_by_name() -> None:
    """What takes raw ids for integers refuses item indices given in the same way."""
    program = torch.export.load(make_export(strings=True) / "model.pt2").module()
    none, no = torch.empty(0, dtype=torch.int64), torch.tensor(False)
    inputs = torch.tensor([1, 2]), OFFSETS, none, no, no, none, none, torch.tensor([1])
    with pytest.raises(Exception, match=r"(?i)keyword|kwarg|tree"):
        program(*inputs)
    compiled = torch._inductor.aoti_load_package(str(make_export(strings=True) / "model.aoti.pt2"))
    with pytest.raises(Exception, match=r"(?i)keyword mismatch"):
        compiled(*inputs)


def test_scripted_strings() -> None:
    """Methods of item indices, and of strings through the package, agree with the same model's integers."""
    model, served = torch.jit.load(make_export(strings=True) / "model.ts"), tagnn_fast.load(make_export(strings=True))
    sessions, offsets = sample_sessions(strings=True), batch(sample_sessions())[1]
    flat = [name for session in sessions for name in session]
    with torch.inference_mode():
        indices = model.item_indices(flat)
        names = model.item_strings()
        assert names == served.item_ids() == make_run(strings=True).vocabulary.raw_ids.to_pylist()
        assert indices.tolist() == [names.index(name) + 1 if name in names else 0 for name in flat]
        assert torch.equal(model.scores_indices(indices, offsets), served.scores(flat, offsets))
        targets = [names[place] for place in range(len(sessions))]
        weights = model.explain_indices(indices, offsets, torch.arange(1, len(sessions) + 1))
        assert torch.equal(weights, served.explain(flat, offsets, targets))
        best = model.recommend_strings(sessions, 5, ["item-23", "item-13", "nothing"], True, ["item-23"])
    candidates = ["item-23", "item-13", "nothing"]
    expected = served.recommend(sessions, 5, candidates=candidates, exclude_clicked=True, exclude=["item-23"])
    assert best == tuple(expected)
    with pytest.raises(ValueError, match="targets: expected one per session, got 1 for 11"):
        served.explain(flat, offsets, ["item-13"])


@FORMAT
def test_integers_of_every_kind(format: str) -> None:
    served = tagnn_fast.load(make_export(), format)
    expected = served.recommend([[13, 23], [13]], 5)
    for sessions in (
        [np.array([13, 23], np.int32), [np.uint64(13)]],
        [torch.tensor([13, 23]), (13,)],
        pa.array([[13, 23], [13]]),
        [[pa.scalar(13), 23], pa.array([13])],
        [[torch.tensor(13), 23], [13]],
        [["13", "23"], ["13"]],
    ):
        assert served.recommend(sessions, np.int64(5)) == expected
    # What no item can be is an unknown item, and the others count.
    for unknown in (2**63, -(2**63), -(2**63) - 1, 10**30, "abc", "013", "13.0", " 13", "\ud800", "9" * 5000):
        assert_same(served.recommend([[13, unknown, 23], [13]], 5), expected, [1, 0])
    for wrong in (True, 13.0, None, [13], b"13", np.bool_(True), np.float32(13)):
        with pytest.raises(TypeError, match="^item ids: expected integers as in the model, got "):
            served.recommend([[13, wrong]], 5)
    for wrong_sessions in ([13, 23], [None], ["13"], "13", 13, [{13, 23}], [{13: 1}]):
        with pytest.raises(TypeError, match="^sessions: .*expected a list, got "):
            served.recommend(wrong_sessions, 5)


def assert_same(actual: Recommendations, expected: Recommendations, status: list[int]) -> None:
    """Items; scores to rounding, which depends on the unknown clicks' slots."""
    assert (actual.items, actual.status) == (expected.items, status)
    assert_near(torch.tensor(actual.scores).flatten(), torch.tensor(expected.scores).flatten(), 1e-6)


@FORMAT
def test_unknown_strings(format: str) -> None:
    """A lone surrogate is no text: an unknown item, which fails no other session."""
    served = tagnn_fast.load(make_export(strings=True), format)
    expected = served.recommend([["item-13", "item-23"], []], 5)
    assert_same(served.recommend([["item-13", "\ud800", "item-23"], ["\udfff"]], 5), expected, [1, 2])
    with pytest.raises(TypeError, match="^sessions: each session: expected a list, got 'item-13'$"):
        served.recommend(["item-13"], 5)


def test_arrow_lists() -> None:
    """A null is a session without clicks, as for the run itself; None in a list is none."""
    served = tagnn_fast.load(make_export())
    found = served.recommend(pa.array([[13], None, [23]]), 5)
    assert found == served.recommend([[13], [], [23]], 5)
    with pytest.raises(TypeError, match="sessions: each session: expected a list, got None"):
        served.recommend([[13], None], 5)


@FORMAT
def test_k(format: str) -> None:
    served, items = tagnn_fast.load(make_export(), format), len(make_run().vocabulary)
    for wrong in (True, 1.7, 3.0, "3", None, np.bool_(True)):
        with pytest.raises(TypeError, match="^k: expected an int, got "):
            served.recommend([[13]], wrong)
    for wrong in (0, -1, -(2**63)):
        with pytest.raises(ValueError, match="^k: expected 1 or more, got "):
            served.recommend([[13]], wrong)
    for flag in (1, None, "true"):
        with pytest.raises(TypeError, match="^exclude_clicked: expected True or False, got "):
            served.recommend([[13]], 5, exclude_clicked=flag)
    for flag in (np.True_, np.False_):
        assert served.recommend([[13]], 5, exclude_clicked=flag) == served.recommend(
            [[13]], 5, exclude_clicked=bool(flag)
        )
    assert served.recommend([[13]], torch.tensor(5)) == served.recommend([[13]], 5)
    assert K_MAX < items <= ITEMS
    for k in (items, items + 1, 2_000_000_000, 2**63):
        if format == "torchscript":
            assert [len(set(line)) for line in served.recommend([[13], []], k).items] == [items, items]
            assert served(*batch([[13], []]), k)[0].shape == (2, items)
        else:
            with pytest.raises(ValueError, match=rf"^k: expected 1..{K_MAX}, the longest list of .*k_max.*, got {k}$"):
                served.recommend([[13]], k)


def test_scripted_k() -> None:
    model, items = torch.jit.load(make_export() / "model.ts"), len(make_run().vocabulary)
    assert len(model.recommend([[13]], 2_000_000_000)[0][0]) == items
    for k in (0, -1):
        with pytest.raises(torch.jit.Error, match=f"k: expected 1 or more, got {k}"):
            model.recommend([[13]], k)


@FORMAT
@pytest.mark.parametrize("strings", [False, True])
def test_exclude_clicked(strings: bool, format: str) -> None:
    """The whole list without the session's own items, however long; popularity's lists have none of them either."""
    sessions, run = sample_sessions(strings), make_run(strings=strings)
    served = tagnn_fast.load(make_export(strings=strings), format)
    full = eager(run.recommender(), sessions, len(run.vocabulary))
    for k in (1, 20, K_MAX):
        assert_same_lists(served.recommend(sessions, k, exclude_clicked=True), without_own(full, sessions, k))
    items, _, status = served.recommend(sessions, K_MAX, exclude_clicked=True)
    assert {0, 1, 2} == set(status)
    for session, line in zip(sessions, items, strict=True):
        assert not set(session) & set(line)


def test_exclude_clicked_of_all() -> None:
    """What is left is the answer: nothing comes back to fill a list."""
    served, run = tagnn_fast.load(make_export()), make_run()
    raw = run.vocabulary.raw_ids.to_pylist()
    items, scores, _ = served.recommend([raw[:-2], raw, [13]], len(raw), exclude_clicked=True)
    assert sorted(items[0]) == sorted(raw[-2:])
    assert [len(line) for line in items] == [len(line) for line in scores] == [2, 0, len(raw) - 1]
    answer = served.recommend([[13], [23, 13], [-5]], 20, candidates=[13, 23], exclude_clicked=True)
    assert answer.items[:2] == [[23], []]
    ids, values, _ = served(*batch([[13]]), 20, candidates=torch.tensor([13, 23]), exclude_clicked=True)
    assert ids.tolist() == [[23, *[-1] * 19]]
    assert values[0, 1:].tolist() == [-torch.inf] * 19


def test_folder_is_a_path_or_text() -> None:
    assert tagnn_fast.load(str(Path(make_export()))).format == "torchscript"
