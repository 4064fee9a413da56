"""Exported folders of models that were never trained, and of a baseline, and the sessions they are asked about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import torch

from tagnn_fast.baselines import BASELINES
from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset
from tagnn_fast.observer import Observer
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import Run, create_run
from tagnn_fast.serving.export import ExportFormat, export
from tagnn_fast.training.fit import fit
from tagnn_fast.training.recipes import resolve
from tests.support import assert_near

OURS: tuple[ExportFormat, ...] = ("torchscript", "program", "compiled")  # what `load` reads
ARCHITECTURES = ["tagnn_pp", "tagnn", "sr_gnn"]
SEMANTICS = ["clean", "published"]
CASES = [
    *((architecture, semantics) for architecture in ARCHITECTURES for semantics in SEMANTICS),
    ("attention_enhanced", "clean"),
    ("vs_knn", "clean"),
]
ITEMS = 1100  # more than the longest list
K_MAX = 1000


def make_run(architecture: str = "tagnn_pp", semantics: str = "clean", strings: bool = False) -> Run:
    """A run folder with random weights, or of a fitted baseline; raw ids are 10 · index + 3, or "item-" and that."""
    return _run(architecture, semantics, strings)


def make_export(architecture: str = "tagnn_pp", semantics: str = "clean", strings: bool = False) -> Path:
    """Its exported folder."""
    return _export(architecture, semantics, strings)


@cache
def _run(architecture: str, semantics: str, strings: bool) -> Run:
    made = synthetic_dataset(clicks=60_000, items=ITEMS)
    ids = [10 * item + 3 for item in range(1, len(made.vocabulary) + 1)]
    raw_ids = pa.array([f"item-{number}" for number in ids] if strings else ids)
    dataset = Dataset("synthetic", made.train, made.test, Vocabulary(raw_ids, made.vocabulary.counts))
    if architecture in BASELINES:
        folder = Path(mkdtemp(prefix="tagnn_fast_export_"))
        return fit(dataset, folder / "run", architecture=architecture, protocol="all", observer=Observer())
    overrides = {"architecture": architecture, "semantics": semantics, "hidden_size": 24}
    model, training = resolve("clean", overrides, len(dataset.vocabulary), longest_prefix=12)
    folder = Path(mkdtemp(prefix="tagnn_fast_export_"))
    run = create_run(folder / "run", model, training, dataset, folder)
    run.keep_model({name: 2 * value for name, value in make_model(model, training).state_dict().items()}, 1)
    return run


@cache
def _export(architecture: str, semantics: str, strings: bool) -> Path:
    run = _run(architecture, semantics, strings)
    export(run, run.folder.parent / "exported", K_MAX, formats=OURS)
    return run.folder.parent / "exported"


@cache
def small_run() -> Run:
    """A run folder with nine items, fewer than the usual list; raw ids from 11."""
    made = synthetic_dataset(clicks=2000, items=9)
    vocabulary = Vocabulary(pa.array(range(11, 11 + len(made.vocabulary))), made.vocabulary.counts)
    dataset = Dataset("synthetic", made.train, made.test, vocabulary)
    model, training = resolve("clean", {"hidden_size": 8}, len(vocabulary), longest_prefix=12)
    folder = Path(mkdtemp(prefix="tagnn_fast_export_"))
    run = create_run(folder / "run", model, training, dataset, folder)
    run.keep_model(make_model(model, training).state_dict(), 1)
    return run


def sample_sessions(strings: bool = False) -> list[list[int]] | list[list[str]]:
    """Ragged sessions of raw ids: single clicks, repeats, unknown items, nothing, a long one."""
    generator = torch.Generator().manual_seed(0)
    indices = [torch.randint(1, 900, (length,), generator=generator).tolist() for length in (1, 4, 2, 30, 7)]
    known = [[10 * item + 3 for item in session] for session in indices]
    sessions = [*known, [13, 13, 23, 13], [13, 999_999, 23], [-5], [], [4, 5], [2**62, 33]]
    return [[f"item-{item}" for item in session] for session in sessions] if strings else sessions


def eager(
    recommender: Recommender, sessions: list[list[int]], k: int
) -> tuple[list[list[int]], torch.Tensor, list[int]]:
    """What the package itself answers: raw ids, scores, status."""
    table = recommender.recommend(sessions, k).to_table()
    count = len(sessions)
    ids = [table["item"].to_pylist()[k * b : k * (b + 1)] for b in range(count)]
    scores = torch.tensor(table["score"].to_pylist()).view(count, k)
    answers, skipped = table["answer"].to_pylist()[::k], table["skipped"].to_pylist()[::k]
    status = [2 if answer == "popularity" else int(skip > 0) for answer, skip in zip(answers, skipped, strict=True)]
    return ids, scores, status


def without_own(
    full: tuple[list[list[Any]], torch.Tensor, list[int]], sessions: Sequence[Sequence[Any]], k: int
) -> tuple[list[list[Any]], list[torch.Tensor], list[int]]:
    """The best k of whole lists without each session's own items."""
    ids, values = [], []
    for session, line, scores in zip(sessions, full[0], full[1], strict=True):
        kept = [place for place, item in enumerate(line) if item not in session][:k]
        ids.append([line[place] for place in kept])
        values.append(scores[kept])
    return ids, values, full[2]


def assert_same_lists(
    actual: Iterable[Any],
    expected: tuple[list[list[object]], torch.Tensor | list[torch.Tensor], list[int]],
) -> None:
    """Scores to 1e-5; items wherever scores are further apart than that."""
    items, values, status = actual
    assert status == expected[2]
    for ids, scores, wanted, wanted_scores in zip(items, values, expected[0], expected[1], strict=True):
        assert_near(torch.tensor(scores), wanted_scores, 1e-5)
        apart = (wanted_scores.diff().abs() > 1e-4 * wanted_scores.abs().max()).tolist()
        for place, (item, other) in enumerate(zip(ids, wanted, strict=True)):
            if all(apart[max(0, place - 1) : place + 1]):
                assert item == other
