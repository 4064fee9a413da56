"""The item screen in an exported folder: in every format, unless it is not wanted."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import torch

import tagnn_fast
from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import create_run
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import FORMATS
from tagnn_fast.serving.serving_model import ServingModel
from tagnn_fast.training.recipes import resolve
from tests.serving.folders import OURS, assert_same_lists, eager, sample_sessions

ITEMS = 8200  # so many are screened


def test_every_format(tmp_path: Path) -> None:
    """Served alone, sessions get what the package gives them without a screen."""
    made = synthetic_dataset(clicks=5000, items=300)
    vocabulary = Vocabulary(pa.array(np.arange(1, ITEMS + 1) * 10 + 3), np.ones(ITEMS, np.int64))
    model, training = resolve("clean", {"hidden_size": 24}, ITEMS, longest_prefix=12)
    folder = Path(mkdtemp(dir=tmp_path))
    run = create_run(folder / "run", model, training, Dataset("random", made.train, made.test, vocabulary), folder)
    run.keep_model({name: 2 * value for name, value in make_model(model, training).state_dict().items()}, 1)
    export(run, folder / "exported", k_max=20, formats=OURS)
    scripted = torch.jit.load(folder / "exported" / "model.ts")
    program = torch.export.load(folder / "exported" / "model.pt2")
    screens = [scripted.ranker.screen, program.state_dict["model.ranker.screen"]]
    for screen in screens:
        assert torch.equal(screen, run.recommender().ranker.screen)
    plain, sessions = run.recommender(screen=False), sample_sessions()
    for format in FORMATS:
        served = tagnn_fast.load(folder / "exported", format)
        for session in sessions:
            assert_same_lists(served.recommend([session], 20), eager(plain, [session], 20))
    without = ServingModel(plain.ranker, vocabulary)
    assert without.ranker.screen.numel() == 0
