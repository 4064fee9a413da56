"""Every format gives the answers of the package itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import FORMATS
from tests.serving.folders import (
    CASES,
    K_MAX,
    OURS,
    SEMANTICS,
    assert_same_lists,
    eager,
    make_export,
    make_run,
    sample_sessions,
)
from tests.support import assert_near, batch


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("architecture", "semantics"), CASES)
def test_integers(architecture: str, semantics: str, format: str) -> None:
    run, sessions = make_run(architecture, semantics), sample_sessions()
    served, recommender = tagnn_fast.load(make_export(architecture, semantics), format), run.recommender()
    for k in (1, 20, 1000):
        assert_same_lists(served.recommend(sessions, k), eager(recommender, sessions, k))
    alone = [served.recommend([session], 20) for session in sessions]
    together = [[lists[0] for lists in column] for column in zip(*alone, strict=True)]
    assert_same_lists(together, eager(recommender, sessions, 20))
    assert tuple(served.recommend([], 5)) == ([], [], [])
    ids, scores, status = served(*batch(sessions), 7)
    assert scores.shape == ids.shape == (len(sessions), 7)
    assert [line.tolist() for line in ids] == served.recommend(sessions, 7).items
    assert status.dtype == ids.dtype == torch.int64


@pytest.mark.parametrize("format", FORMATS)
def test_strings(format: str) -> None:
    run, sessions = make_run(strings=True), sample_sessions(strings=True)
    served = tagnn_fast.load(make_export(strings=True), format)
    for k in (1, 20, 1000):
        assert_same_lists(served.recommend_strings(sessions, k), eager(run.recommender(), sessions, k))
    assert served.recommend(sessions, 20) == served.recommend_strings(sessions, 20)
    by_index = served.forward_indices(torch.tensor([1, 5, 2]), torch.tensor([0, 2, 3]), 3)
    by_name = served.recommend([["item-13", "item-53"], ["item-23"]], 3)
    assert [[f"item-{10 * item + 3}" for item in line] for line in by_index[0].tolist()] == by_name.items


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("architecture", "semantics"), [("tagnn_pp", "clean"), ("tagnn_pp", "published"), ("vs_knn", "clean")]
)
def test_scores(architecture: str, semantics: str, format: str) -> None:
    served, sessions = tagnn_fast.load(make_export(architecture, semantics), format), sample_sessions()[:6]
    scores = served.scores(*batch(sessions))
    ids, best, _ = served(*batch(sessions), 50)
    item_ids = served.item_ids()
    assert isinstance(item_ids, torch.Tensor)
    column = {item: place for place, item in enumerate(item_ids.tolist())}
    places = torch.tensor([[column[item] for item in line] for line in ids.tolist()])
    assert_near(scores.gather(1, places), best, 1e-6)
    model = make_run(architecture, semantics).recommender().model
    indices, offsets = batch([[(item - 3) // 10 for item in session] for session in sessions])
    assert_near(scores, model(indices, offsets).detach(), 1e-6)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("architecture", ["attention_enhanced", "vs_knn"])
def test_scores_where_nothing_is_known(architecture: str, format: str) -> None:
    """Are 0, also of networks whose biases would say something."""
    served = tagnn_fast.load(make_export(architecture), format)
    scores = served.scores(*batch([[13], [-5], []]))
    assert scores.any(1).tolist() == [True, False, False]


def test_programs_are_exact_whatever_is_chosen_while_they_are_made(tmp_path: Path) -> None:
    """Rounded products are for the process that chose them."""
    run, sessions = make_run(), sample_sessions()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            export(run, tmp_path / "exported", K_MAX, formats=("torchscript", "program"))
    finally:
        torch.set_float32_matmul_precision(before)
    for format in ("torchscript", "program"):
        served = tagnn_fast.load(tmp_path / "exported", format)  # type: ignore[arg-type]
        assert_same_lists(served.recommend(sessions, 20), eager(run.recommender(), sessions, 20))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("architecture", ["tagnn_pp", "tagnn"])
def test_explain(architecture: str, semantics: str, format: str) -> None:
    """Weights are the softmax over clicks, and padded positions, of the target's logits."""
    served = tagnn_fast.load(make_export(architecture, semantics), format)
    assert served.can_explain
    sessions = [[13, 23, 13], [33], [43, 999_999, 53, 43], [], [63]]
    targets = torch.tensor([73, 83, 13, 13, 999_999])
    weights = served.explain(*batch(sessions), targets)
    model = make_run(architecture, semantics).recommender().model
    known = [[1, 2, 1], [3], [4, 5, 4]]
    graph = model.graph(*batch(known), None)
    keys = model.encode(*batch(known)).keys[graph.click_nodes]  # (clicks, hidden)
    expected, start = [], 0
    for session, target in zip(known, (7, 8, 1), strict=True):
        logits = keys[start : start + len(session)] @ model.item_embedding.weight[target]
        padding = 12 - len(session) if semantics == "published" else 0
        expected.append(torch.cat([logits, torch.zeros(padding)]).softmax(0)[: len(session)])
        start += len(session)
    expected[2] = torch.cat([expected[2][:1], torch.zeros(1), expected[2][1:]])  # the unknown item
    assert_near(weights, torch.cat([*expected, torch.zeros(1)]).detach(), 1e-6)
    assert served.explain(*batch([]), torch.tensor([], dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("architecture", ["sr_gnn", "vs_knn"])
def test_what_cannot_be_explained(architecture: str, format: str) -> None:
    served = tagnn_fast.load(make_export(architecture), format)
    assert not served.can_explain
    with pytest.raises(ValueError, match="^explain: expected a model that can explain, got one without target attent"):
        served.explain(*batch([[13]]), torch.tensor([13]))


def test_bfloat16_table(tmp_path: Path) -> None:
    from tagnn_fast.serving.export import export

    run, sessions = make_run(), sample_sessions()
    manifest = export(run, tmp_path / "exported", k_max=20, bfloat16_table=True, formats=OURS)
    assert manifest["bfloat16_table"]
    for format in FORMATS:
        served = tagnn_fast.load(tmp_path / "exported", format)
        assert_same_lists(served.recommend(sessions, 20), eager(run.recommender(bfloat16_table=True), sessions, 20))
