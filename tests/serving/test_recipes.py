"""A network with all that recipes may add is exported, loaded and served like the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import Run, create_run
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import FORMATS
from tagnn_fast.training.recipes import resolve
from tests.serving.folders import OURS, assert_same_lists, eager
from tests.serving.test_onnx import K, answers
from tests.serving.test_onnx import exported as exported_onnx
from tests.support import assert_near, batch, random_sessions

# Unknown items among them, and nothing at all.
SESSIONS = [[1], [4, 2, 4], *random_sessions((30, 7), items=900), [3, 999_999, 5], [-5], []]
OPTIONS = {
    "hidden_size": 24,
    "hybrid": True,
    "readout_softmax": False,
    "cosine_scale": 12.0,
    "learned_scale": True,
    "learned_share": True,
    "item_dropout": 0.25,
    "recency": "nodes",
    "highway": True,
    "neighbour_weight": 0.5,
    "neighbour_attention": True,
    "repeats": True,
    "star": True,
    "click_counts": True,
    "edge_counts": True,
    "second_readout": True,
    "weight_averaging": 0.9,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With random weights."""
    folder = tmp_path_factory.mktemp("recipe")
    data = synthetic_dataset(clicks=60_000, items=1100)
    configuration = resolve("clean", OPTIONS, len(data.vocabulary), 0)
    model = make_model(*configuration)
    model.learn_neighbours(data.train.clicks, data.train.offsets)
    assert model.repeats is not None
    torch.nn.init.uniform_(model.repeats.logits, -2, 2, generator=torch.Generator().manual_seed(0))
    made = create_run(folder / "run", *configuration, data, folder)
    made.keep_model(model.state_dict(), 1)
    return made


@pytest.fixture(scope="module")
def exported(run: Run) -> Path:
    export(run, run.folder.parent / "exported", 100, formats=OURS)
    return run.folder.parent / "exported"


@pytest.mark.parametrize("format", FORMATS)
def test_same_lists(run: Run, exported: Path, format: str) -> None:
    served, recommender, sessions = tagnn_fast.load(exported, format), run.recommender(), SESSIONS
    assert_same_lists(served.recommend(sessions, 20), eager(recommender, sessions, 20))
    raw_ids = recommender.vocabulary.raw_ids.to_pylist()
    choice = {"candidates": raw_ids[:90:2], "exclude": raw_ids[:9:4]}
    for clicked in (False, True):
        chosen = served.recommend(sessions, 20, exclude_clicked=clicked, **choice)
        wanted = recommender.recommend(sessions, 20, exclude_clicked=clicked, **choice)
        assert_same_lists(chosen, (wanted.items, [torch.tensor(line) for line in wanted.scores], wanted.status))
    known = [[1, 5, 1], [7], list(range(1, 40))]
    ids = [[raw_ids[item - 1] for item in line] for line in known]
    scores = served.scores(*batch(ids))
    assert_near(scores, recommender.model(*batch(known)).detach(), 1e-5)
    assert float(scores.abs().max()) <= 14.001
    weights = served.explain(*batch(ids), served.item_ids()[:3])
    assert_near(weights.sum(), weights.new_tensor(3.0), 1e-5)


def test_item_vectors_are_made_once(run: Run, exported: Path) -> None:
    """What is exported holds one table, as it scores with; the run keeps its weights."""
    recommender = run.recommender()
    assert recommender.ranker.model.neighbours is None
    assert recommender.model.neighbours is not None
    assert recommender.ranker.table().data_ptr() == recommender.ranker.model.item_embedding.weight[1:].data_ptr()
    of_table = 4 * recommender.model.item_embedding.weight.numel()
    assert (exported / "model.ts").stat().st_size < 2 * of_table + 500_000


def test_onnx(run: Run, tmp_path: Path) -> None:
    path = exported_onnx(run, tmp_path / "exported")
    assert_same_lists(answers(path, SESSIONS), eager(run.recommender(), SESSIONS, K))
