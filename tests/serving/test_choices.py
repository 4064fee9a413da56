"""What a call asks for, in every format: candidates, what is excluded; by threads that share one model, too."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import torch

import tagnn_fast
from tagnn_fast.serving.served_model import FORMATS
from tests.serving.folders import K_MAX, SEMANTICS, make_export, make_run, sample_sessions
from tests.support import batch

FORMAT = pytest.mark.parametrize("format", FORMATS)


def left(
    line: list[Any], session: list[Any], candidates: list[Any] | None, exclude_clicked: bool, exclude: list[Any] | None
) -> list[Any]:
    """What a choice leaves of a list."""
    return [
        item
        for item in line
        if (candidates is None or item in candidates)
        and item not in (exclude or [])
        and not (exclude_clicked and item in session)
    ]


@FORMAT
@pytest.mark.parametrize(
    ("architecture", "semantics", "strings"),
    [*(("tagnn_pp", name, False) for name in SEMANTICS), ("tagnn_pp", "clean", True), ("vs_knn", "clean", False)],
)
def test_choices(architecture: str, semantics: str, strings: bool, format: str) -> None:
    """The whole list without all others, cut at k; popularity's as well; unknown ids do not matter."""
    sessions: list[list[Any]] = [*sample_sessions(strings)]
    everything = make_run(architecture, semantics, strings).recommender().recommend(sessions, 2000)
    served = tagnn_fast.load(make_export(architecture, semantics, strings), format)
    chosen: list[Any] = [13, 503, 23, 4003, 23, -1, 10**12, 2**70, 33, 53, 63, *range(103, 2003, 10)]
    excluded: list[Any] = [23, 4003, -7, *range(203, 303, 10), *(line[0] for line in everything.items if not strings)]
    if strings:
        chosen, excluded = ([f"item-{item}" for item in ids] for ids in (chosen, excluded))
        excluded += [line[0] for line in everything.items]
    for candidates in (None, chosen, [], chosen[5:8]):
        for exclude in (None, excluded, []):
            for own in (False, True):
                answer = served.recommend(sessions, 7, candidates=candidates, exclude_clicked=own, exclude=exclude)
                expected = [
                    left(line, session, candidates, own, exclude)[:7]
                    for line, session in zip(everything.items, sessions, strict=True)
                ]
                assert answer.items == expected
                assert (answer.status, answer.skipped) == (everything.status, everything.skipped)
                assert [len(line) for line in answer.scores] == [len(line) for line in answer.items]
    assert answer.to_table().schema == everything.to_table().schema


@FORMAT
def test_tensors(format: str) -> None:
    """Of raw ids, or of item indices; what is left of a list is -1 and -inf."""
    sessions = sample_sessions()
    candidates, exclude = torch.tensor([13, 503, 23, 4003, 23, -1, 10**12]), torch.tensor([503])
    served = tagnn_fast.load(make_export(), format)
    ids, scores, status = served(*batch(sessions), 20, candidates=candidates, exclude=exclude)
    answer = served.recommend(sessions, 20, candidates=candidates, exclude=exclude)
    assert [line[:3] for line in ids.tolist()] == answer.items
    assert bool((ids[:, 3:] == -1).all() & (scores[:, 3:] == -torch.inf).all())
    assert status.tolist() == answer.status
    by_index = tagnn_fast.load(make_export(strings=True), format)
    indices, offsets = batch([[1, 2], [0]])
    ids, _, _ = by_index.forward_indices(
        indices, offsets, 5, candidates=torch.tensor([1, 3]), exclude=torch.tensor([3])
    )
    assert ids.tolist() == [[1, -1, -1, -1, -1]] * 2


@FORMAT
@pytest.mark.parametrize("name", ["candidates", "exclude"])
def test_errors_name_the_argument(name: str, format: str) -> None:
    served: Any = tagnn_fast.load(make_export(), format)
    for ids in ([1.5], [None], [b"1"]):
        with pytest.raises(TypeError, match=f"^{name}: item ids: expected integers as in the model, got "):
            served.recommend([[13]], 3, **{name: ids})
    for ids in ("13", 13):
        with pytest.raises(TypeError, match=f"^{name}: expected a list, got "):
            served.recommend([[13]], 3, **{name: ids})
    with pytest.raises(TypeError, match=f"^{name}: expected int64, got float32$"):
        served(*batch([[13]]), 3, **{name: torch.tensor([1.0])})
    strings: Any = tagnn_fast.load(make_export(strings=True), format)
    with pytest.raises(TypeError, match=f"^{name}: item ids: expected strings as in the model, got 13"):
        strings.recommend([["item-13"]], 3, **{name: [13]})


def test_scripted_alone() -> None:
    """Without the package as well."""
    model, served = torch.jit.load(make_export() / "model.ts"), tagnn_fast.load(make_export())
    sessions = sample_sessions()
    expected = served.recommend(sessions, candidates=[13, 23, 33], exclude_clicked=True, exclude=[33])
    assert model.recommend(sessions, candidates=[13, 23, 33], exclude_clicked=True, exclude=[33]) == tuple(expected)
    assert len(model.recommend(sessions)[0][0]) == 20
    items, scores, status = model(*batch(sessions), 2, torch.tensor([13, 23]))
    assert (items.dtype, scores.dtype, status.dtype) == (torch.int64, torch.float32, torch.int64)
    with pytest.raises(torch.jit.Error, match="candidates, exclude: expected int64 vectors"):
        model(*batch(sessions), 2, torch.tensor([[13, 23]]))


@FORMAT
def test_threads_of_several_shops(format: str) -> None:
    """One loaded model, and threads that choose from other items: each gets its own shop's answers."""
    served, sessions = tagnn_fast.load(make_export(), format), sample_sessions()
    items = make_run().vocabulary.raw_ids.to_pylist()
    choices: list[dict[str, Any]] = [
        {"candidates": items[shop::4], "exclude": items[shop : 9 * shop : 8]} for shop in range(4)
    ]
    choices += [{"exclude_clicked": True}, {"exclude": items[:50]}, {"candidates": []}, {}]
    expected = [served.recommend(sessions, 20, **choice) for choice in choices]
    assert len({str(answer.items) for answer in expected}) == len(choices)
    end, wrong = time.monotonic() + float(os.environ.get("TAGNN_FAST_THREAD_SECONDS", "1")), []

    def ask(shop: int) -> None:
        while time.monotonic() < end:
            if served.recommend(sessions, 20, **choices[shop]) != expected[shop]:
                wrong.append(shop)

    threads = [threading.Thread(target=ask, args=(shop,)) for shop in range(len(choices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_longest_list() -> None:
    """Of the programs: also among candidates."""
    assert len(tagnn_fast.load(make_export(), "program").recommend([[13]], K_MAX, exclude=[23]).items[0]) == K_MAX
