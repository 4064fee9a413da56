"""ONNX: the same lists in another runtime, from the ops' plain definitions; no op of this package in the file."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tagnn_fast
from tagnn_fast.ops import library
from tagnn_fast.runs.run import Run
from tagnn_fast.serving.export import export
from tests.serving.folders import assert_same_lists, eager, make_run, sample_sessions

K = 20
ARCHITECTURES = ["tagnn_pp", "tagnn", "sr_gnn", "attention_enhanced"]


def exported(run: Run, folder: Path, **options: Any) -> Path:
    export(run, folder, K, formats=["onnx"], **options)
    return folder / "model.onnx"


def answers(path: Path, sessions: list[list[int]]) -> tuple[list[list[int]], list[list[float]], list[int]]:
    """What onnxruntime makes of a file."""
    session = onnxruntime.InferenceSession(path)
    names = [one.name for one in session.get_inputs()]
    assert names[1] == "offsets"
    clicks = np.array([item for one in sessions for item in one], np.int64)
    offsets = np.cumsum([0, *map(len, sessions)]).astype(np.int64)
    items, scores, status = session.run(None, {names[0]: clicks, "offsets": offsets})
    return items.tolist(), scores.tolist(), status.tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_lists(architecture: str, tmp_path: Path) -> None:
    """One session and many, repeats, unknown items, nothing known, nothing at all."""
    run = make_run(architecture)
    path = exported(run, tmp_path / "exported")
    recommender = run.recommender()
    sessions = sample_sessions()
    for part in (sessions, sessions[:1], sessions[3:5], [[-5]], [[]], [[], []]):
        assert_same_lists(answers(path, part), eager(recommender, part, K))


def test_rounded_table(tmp_path: Path) -> None:
    run, sessions = make_run(), sample_sessions()
    path = exported(run, tmp_path / "exported", bfloat16_table=True)
    assert_same_lists(answers(path, sessions), eager(run.recommender(bfloat16_table=True), sessions, K))


def test_strings_are_indices(tmp_path: Path) -> None:
    run = make_run(strings=True)
    path = exported(run, tmp_path / "exported")
    names = ["", *run.vocabulary.raw_ids.to_pylist()]
    items, _, status = answers(path, [[1, 2, 1], [0]])
    expected = run.recommender().recommend([[names[1], names[2], names[1]], ["nobody"]], K)
    assert [[names[item] for item in line] for line in items] == expected.items
    assert status == expected.status
    assert onnxruntime.InferenceSession(path).get_inputs()[0].name == "indices"


def test_file_holds_no_op_of_this_package(tmp_path: Path) -> None:
    model = onnx.load(exported(make_run(), tmp_path / "exported"))
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    message = "format: expected one of torchscript, program, compiled, got 'onnx'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        tagnn_fast.load(tmp_path / "exported", "onnx")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "semantics", "message"),
    [
        ("vs_knn", "clean", "formats: expected no onnx for a baseline or a blend, which is no network, got one"),
        ("tagnn_pp", "published", "formats: expected no onnx in 'published' semantics, got them"),
    ],
)
def test_refused(architecture: str, semantics: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        exported(make_run(architecture, semantics), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_other_threads_keep_their_kernels() -> None:
    """What an export switches off is switched off for it alone."""
    with library.plain_definitions(), ThreadPoolExecutor(1) as pool:
        assert not library.has_kernel(torch.empty(0))
        assert pool.submit(library.has_kernel, torch.empty(0)).result()
