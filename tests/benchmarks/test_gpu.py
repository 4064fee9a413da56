"""What can be checked of the GPU benchmark without a GPU: its arithmetic, its table, its peers, and how it refuses."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks.gpu import sections
from benchmarks.gpu.calls import target_attention_work
from benchmarks.gpu.checks import relative_difference
from benchmarks.gpu.loss import loss_table
from benchmarks.gpu.peers import epoch_table
from benchmarks.gpu.rates import Rates
from benchmarks.peers import losses, steps
from benchmarks.peers.nodes import node_scores, padded_nodes
from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch
from tagnn_fast.ops import library, reference
from tagnn_fast.ops.graph import encoded_sessions
from tests.support import ROOT, random_tensors, sample_graph


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*sections.COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help() -> None:
    result = run_script("--help")
    assert result.returncode == 0
    assert "in one call" in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_refuses_without_a_gpu(tmp_path: Path) -> None:
    result = run_script(str(tmp_path / "figures"))
    assert result.returncode != 0
    assert result.stderr == "benchmarks.gpu: expected a GPU that PyTorch can use, found none\n"
    assert not (tmp_path / "figures").exists()


def test_sections_exist() -> None:
    for module, name, limit in sections.SECTIONS.values():
        assert callable(getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name))
        assert limit > 0
    files = {sections.file_of(Path(), section) for section in sections.SECTIONS}
    assert len(files) == len(sections.SECTIONS)


def test_a_section_that_breaks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(sections, "COMMAND", [sys.executable, str(tmp_path / "breaks.py")])
    figures = sections.run_apart("ops", tmp_path, None)
    assert figures["failed"] == "ended with 3; see above"
    assert json.loads(sections.file_of(tmp_path, "ops").read_text()) == figures


def test_summary() -> None:
    results = {
        "machine": {"seconds": 2.0, "table": {"card": "one"}},
        "ops": {"seconds": 1.0, "failed": "ended with 1", "table": {"a": "b"}},
    }
    lines = [" ".join(line.split()) for line in sections.summary(results)]
    assert lines == ["machine (2 s)", "card one", "ops (1 s)", "a b", "failed: ended with 1"]


def test_relative_difference() -> None:
    expected = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    assert relative_difference([torch.tensor([3.0, 0.5]), torch.tensor([4.0])], expected) == pytest.approx(0.1)
    assert relative_difference(expected, expected) == 0
    assert not relative_difference([torch.tensor([torch.nan, 0.0]), torch.tensor([4.0])], expected) <= 1


def test_floor() -> None:
    rates = Rates(copy=1e12, products={"float32": 5e13, "bf16": 5e14})
    assert rates.floor(1e9, 1e6, "float32") == pytest.approx(4e-5)
    assert rates.floor(1e9, 1e8, "bf16") == pytest.approx(1e-4)


def test_loss_table() -> None:
    common = {"precision": "bf16", "pass": "forward and backward", "megabytes": 10.0, "bf16_share": 0.2}
    rows = [
        {**common, "variant": "native", "seconds": 0.001},
        {**common, "variant": "compiled", "seconds": 0.004},
        {**common, "variant": "published, 8 sessions at a time", "seconds": 0.0001},
        {**common, "pass": "forward", "variant": "compiled", "seconds": 0.0001},
        {"variant": "plain", "precision": "tf32", "pass": common["pass"], "error": "OutOfMemoryError: too much\nmore"},
    ]
    table = loss_table(rows)
    assert table["native against the best in plain PyTorch"] == "4.0 times as fast"
    assert table["plain, tf32"] == "OutOfMemoryError: too much"


def test_peers_compute_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plain variant that is timed, against the definition; uncompiled, since that is PyTorch's part."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(losses, "CHUNK", 7)
    graph = sample_graph("ragged")
    slots, sessions = graph.click_counts.shape[0], graph.num_nodes.shape[0]
    tensors = random_tensors([(sessions, 6), (slots, 6), (slots, 6), (30, 6)], torch.float64)
    encoded = encoded_sessions(*tensors[:3], graph)
    targets = torch.arange(sessions)
    expected = reference.target_attention_cross_entropy(encoded, tensors[3], targets).mean()
    for name, loss in losses.plain_losses(encoded, targets).items():
        # Their softmaxes are in float32.
        torch.testing.assert_close(loss(*tensors).double(), expected, rtol=1e-6, atol=0, msg=name)
    place, mask = padded_nodes(graph.click_counts, graph.slot_offsets)
    scores = node_scores(tensors[0], tensors[1][place], tensors[2][place], mask, tensors[3])
    torch.testing.assert_close(cross_entropy(scores, targets), expected, rtol=1e-6, atol=0)
    nodes = int(graph.num_nodes.sum())
    assert target_attention_work(encoded, 30) == (2 * nodes + sessions) * 30 * 6


def test_peers_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean loss that each peer learns from, against the model's own; then a step of each."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(steps, "PADDED_LENGTH", 6)
    torch.manual_seed(0)
    batch = SessionBatch(torch.tensor([3, 9, 3, 5, 1, 2, 2]), torch.tensor([0, 3, 4, 7]))
    targets = torch.tensor([1, 7, 4])
    config = ModelConfig(10, hidden_size=8, attention_dropout=0.0, padded_length=6)
    clean, published = (TAGNNPP(dataclasses.replace(config, semantics=kind)) for kind in ("clean", "published"))
    plain = steps.plain_mean_losses(clean, batch, targets)
    assert len(plain) >= 4
    for name, mean_loss in plain.items():
        torch.testing.assert_close(mean_loss(), clean.loss(*batch, targets + 1), rtol=1e-5, atol=0, msg=name)
    mean = steps.published_mean_loss(published, batch, targets)
    torch.testing.assert_close(mean(), published.loss(*batch, targets + 1), rtol=1e-5, atol=0)
    for model, mean_loss in ((clean, plain["plain, chunked"]), (published, mean)):
        before = float(mean_loss().detach())
        for _ in range(3):
            steps.learning(model, mean_loss, autocast=False)()
        assert float(mean_loss().detach()) < before
    assert library.has_kernel(torch.empty(0))


def test_epoch_table() -> None:
    rows = [
        {"peer": "published", "precision": "tf32", "epoch": 1234.56},
        {"peer": "plain, chunked", "precision": "bf16", "error": "OutOfMemoryError: too much"},
    ]
    assert epoch_table(rows) == {
        "epoch, published, tf32": "1,234.6 s",
        "epoch, plain, chunked, bf16": "OutOfMemoryError: too much",
    }
