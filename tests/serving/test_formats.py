"""Every format gives the answers of the package itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.serving.served_model import FORMATS, ServedModel
from tests.serving.folders import (
    ARCHITECTURES,
    SEMANTICS,
    assert_same_lists,
    eager,
    make_export,
    make_run,
    sample_sessions,
)
from tests.support import assert_near, batch

CASES = [(architecture, semantics) for architecture in ARCHITECTURES for semantics in SEMANTICS]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("architecture", "semantics"), CASES)
def test_integers(architecture: str, semantics: str, format: str) -> None:
    run, sessions = make_run(architecture, semantics), sample_sessions()
    served, recommender = tagnn_fast.load(make_export(architecture, semantics), format), run.recommender()
    for k in (1, 20, 1000):
        assert_same_lists(served.recommend(sessions, k), eager(recommender, sessions, k))
    alone = [served.recommend([session], 20) for session in sessions]
    together = tuple([part[index][0] for part in alone] for index in range(3))
    assert_same_lists(together, eager(recommender, sessions, 20))
    assert served.recommend([], 5) == ([], [], [])
    scores, ids, status = served(*batch(sessions), 7)
    assert scores.shape == ids.shape == (len(sessions), 7)
    assert [line.tolist() for line in ids] == served.recommend(sessions, 7)[0]
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
    assert [[f"item-{10 * item + 3}" for item in line] for line in by_index[1].tolist()] == by_name[0]


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_candidates(semantics: str) -> None:
    served, sessions = scripted(semantics), sample_sessions()
    full = served.recommend(sessions, len(make_run(semantics=semantics).vocabulary))
    candidates = torch.tensor([13, 503, 23, 4003, 23, -1, 10**12])
    served.set_candidates(candidates)
    allowed = {13, 503, 23, 4003}
    best = served.recommend(sessions, 3)
    assert best[0] == [[item for item in line if item in allowed][:3] for line in full[0]]
    assert best[2] == full[2]
    assert [len(line) for line in served.recommend(sessions, 20)[0]] == [4] * len(sessions)
    scores, ids, _ = served(*batch(sessions), 20)
    assert bool((ids[:, 4:] == -1).all() & (scores[:, 4:] == -torch.inf).all())
    served.set_candidates(torch.tensor([], dtype=torch.int64))
    assert served.recommend(sessions, 3)[0] == [[]] * len(sessions)
    served.set_candidates(None)
    assert served.recommend(sessions, 3)[0] == [line[:3] for line in full[0]]


def scripted(semantics: str = "clean", architecture: str = "tagnn_pp") -> ServedModel:
    return tagnn_fast.load(make_export(architecture, semantics))


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_scores(semantics: str) -> None:
    served, sessions = scripted(semantics), sample_sessions()[:6]
    scores = served.scores(*batch(sessions))
    best, ids, _ = served(*batch(sessions), 50)
    column = {item: place for place, item in enumerate(served.item_ids().tolist())}
    places = torch.tensor([[column[item] for item in line] for line in ids.tolist()])
    assert_near(scores.gather(1, places), best, 1e-6)
    model = make_run(semantics=semantics).recommender().model
    indices, offsets = batch([[(item - 3) // 10 for item in session] for session in sessions])
    assert_near(scores, model(indices, offsets).detach(), 1e-6)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("architecture", ["tagnn_pp", "tagnn"])
def test_explain(architecture: str, semantics: str) -> None:
    """Weights are the softmax over clicks, and padded positions, of the target's logits."""
    served = scripted(semantics, architecture)
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


def test_no_target_attention_to_explain() -> None:
    with pytest.raises(ValueError, match="explain: expected a model with target attention, got one without"):
        scripted(architecture="sr_gnn").explain(*batch([[13]]), torch.tensor([13]))


def test_bfloat16_table(tmp_path: Path) -> None:
    from tagnn_fast.serving.export import export

    run, sessions = make_run(), sample_sessions()
    manifest = export(run, tmp_path / "exported", k_max=20, bfloat16_table=True)
    assert manifest["bfloat16_table"]
    for format in FORMATS:
        served = tagnn_fast.load(tmp_path / "exported", format)
        assert_same_lists(served.recommend(sessions, 20), eager(run.recommender(bfloat16_table=True), sessions, 20))


@pytest.mark.parametrize("format", ["program", "compiled"])
@pytest.mark.parametrize("method", ["scores", "explain", "set_candidates", "item_ids"])
def test_what_programs_cannot_do(format: str, method: str) -> None:
    served = tagnn_fast.load(make_export(), format)
    arguments = {"scores": batch([[13]]), "explain": (*batch([[13]]), torch.tensor([13])), "set_candidates": (None,)}
    with pytest.raises(NotImplementedError) as error:
        getattr(served, method)(*arguments.get(method, ()))
    message = f"{method}: expected format 'torchscript', got '{format}': programs have one method and no state"
    assert str(error.value) == message
