"""Ensembles and hybrids are exported, loaded and served like any other run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tagnn_fast
from tagnn_fast.runs.run import Run
from tagnn_fast.serving.export import export
from tagnn_fast.serving.programs import NoCompilerError
from tagnn_fast.training.blend import blend
from tests.serving.folders import OURS, assert_same_lists, eager
from tests.support import assert_near, batch
from tests.training.blends import QUIET, trained

# Unknown items among them, and nothing at all.
SESSIONS = [[10_001], [10_004, 10_002, 10_004], list(range(10_001, 10_050)), [10_003, -9, 10_005], [-5], []]
MEMBERS = {"hybrid": [("tagnn_pp", 0), ("vs_knn", 0)], "ensemble": [("sr_gnn", 0), ("sr_gnn", 1)]}


@pytest.fixture(scope="module", params=MEMBERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("blends")
    members = [trained(folder / f"{name}-{seed}", name, seed) for name, seed in MEMBERS[request.param]]
    return blend(members, folder / request.param, observer=QUIET)


@pytest.fixture(scope="module")
def exported(run: Run) -> Path:
    """All but the package that takes a C++ compiler minutes."""

    def compiled(*arguments: object) -> None:
        raise NoCompilerError("there is none")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagnn_fast.serving.export.compile_program", compiled)
        export(run, run.folder.parent / "exported", 50, formats=OURS)
    return run.folder.parent / "exported"


@pytest.mark.parametrize("format", ["torchscript", "program"])
def test_same_lists(run: Run, exported: Path, format: Any) -> None:
    served, recommender = tagnn_fast.load(exported, format), run.recommender()
    assert_same_lists(served.recommend(SESSIONS, 20), eager(recommender, SESSIONS, 20))
    choices: list[dict[str, Any]] = [
        {"candidates": [10_003, 10_009, 5], "exclude": [10_003]},
        {"exclude_clicked": True},
        {"exclude_clicked": True, "exclude": [10_007, 10_008, -1]},
    ]
    for choice in choices:
        found, expected = served.recommend(SESSIONS, 20, **choice), recommender.recommend(SESSIONS, 20, **choice)
        assert (found.items, found.status) == (expected.items, expected.status)
    known = [[10_001, 10_005], [10_007]]
    scores = served.scores(*batch(known))
    assert_near(scores.sum(1), torch.ones(2), 1e-9)
    with pytest.raises((ValueError, torch.jit.Error), match="explain"):
        served.explain(*batch(known), served.item_ids()[:2])


def test_what_the_folder_says(run: Run, exported: Path) -> None:
    manifest = tagnn_fast.load(exported).manifest
    assert manifest["architecture"] == run.training.architecture
    assert [one["architecture"] for one in manifest["card"]["members"]] == [
        name for name, _ in MEMBERS[run.training.architecture]
    ]
    assert manifest["card"]["result"]["weights"] == run.result["weights"]  # type: ignore[index]
