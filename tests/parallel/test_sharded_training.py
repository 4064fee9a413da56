"""Runs that are trained on a catalogue in shards: what they write is that of a plain network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import tagnn_fast
from tagnn_fast.data import PrefixExamples, synthetic_dataset
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.sr_gnn import SRGNN
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.layout import find_layout
from tagnn_fast.parallel.processes import Processes as Standing
from tagnn_fast.runs.configuration import TrainingConfig
from tagnn_fast.runs.run import create_run, open_run
from tagnn_fast.training.fit import check_layout, new_run, resume
from tagnn_fast.training.protocols import make_protocol
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.sharded_loop import train_sharded
from tagnn_fast.training.stopping import Interrupted
from tests.parallel.conftest import Processes

DATASET = synthetic_dataset(clicks=500, items=50)
EXAMPLES = make_protocol("held-out", DATASET, 0).train
# The last batch of an epoch has one example: none for the second process.
BATCH_SIZE = next(size for size in range(41, len(EXAMPLES)) if len(EXAMPLES) % size == 1)
OPTIONS = {"hidden_size": 8, "epochs": 2, "batch_size": BATCH_SIZE, "accelerator": "cpu", "learning_rate": 0.01}


def make_run(folder: Path, **options: Any) -> None:
    longest = PrefixExamples(DATASET.train).longest_prefix()
    configurations = resolve("clean", {**OPTIONS, **options}, len(DATASET.vocabulary), longest)
    create_run(folder, *configurations, DATASET, folder / "data")


def train(rank: int, folder: Path, steps: int | None) -> str:
    """Train a run, or some steps more of it; what it says where it stops."""
    questions = iter(range(10**6 if steps is None else steps - 1))
    try:
        here = Standing(rank, dist.get_world_size(), rank, True)
        train_sharded(open_run(folder), DATASET, stop=lambda: next(questions, None) is None, processes=here)
    except Interrupted as interrupted:
        return str(interrupted)
    return ""


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "held-out-refit", "max_clicks_per_batch": 60, "example_half_life": 0.3},
        {"protocol": "held-out", "architecture": "sr_gnn", "cosine_scale": 9.0, "adaptive_clipping": 0.1},
    ],
    ids=["in parts", "cosines"],
)
def test_run(processes: Processes, tmp_path: Path, options: dict[str, Any]) -> None:
    """Figures are those of the plain network with its weights; one that stops now and then comes to the same."""
    make_run(tmp_path / "whole", **options)
    assert processes.run(train, tmp_path / "whole", None) == ["", ""]
    run = open_run(tmp_path / "whole")
    result = json.loads((run.folder / "result.json").read_text())
    protocol = make_protocol(options["protocol"], DATASET, 0)
    assert protocol.validation is not None
    held_out = run.held_out_recommender() if "refit" in options["protocol"] else run.recommender()
    assert score_model(held_out, protocol.validation) == pytest.approx(result["validation"])
    assert score_model(run.recommender(), PrefixExamples(DATASET.test)) == pytest.approx(result["test"])
    losses = [record["training_loss"] for record in json.loads((run.folder / "history.json").read_text())]
    assert losses[1] < losses[0]

    make_run(tmp_path / "stopped", **options)
    said = [processes.run(train, tmp_path / "stopped", steps) for steps in (3, 8, None)]
    assert said[0] == 2 * ["stopped in epoch 1 after step 3; saved epoch-000-step-000003"]
    assert said[1][0].startswith("stopped in ")
    assert said[2] == ["", ""]
    weights, others = load_file(run.weights), load_file(tmp_path / "stopped" / "model.safetensors")
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_damaged_weights(tmp_path: Path) -> None:
    """Of the run that this one starts from: refused, and nothing is trained."""
    options = {**OPTIONS, "protocol": "all", "epochs": 1}
    first = tagnn_fast.fit(DATASET, tmp_path / "first", "clean", **options, observer=Observer())
    again = {name: value for name, value in options.items() if name != "hidden_size"}
    run = new_run(DATASET, tmp_path / "second", again, first)
    content = bytearray(run.initial_weights.read_bytes())
    content[-1] ^= 1
    run.initial_weights.write_bytes(content)
    with pytest.raises(ValueError, match="expected the tensors that were written, got a damaged file"):
        resume(run, layout=find_layout(None, None, "sharded"), observer=Observer())
    assert open_run(run.folder).result is None


@pytest.mark.parametrize(
    "option",
    [
        *({"neighbour_weight": 0.5}, {"gradient_clipping": 1.0}, {"weight_averaging": 0.5}, {"repeats": True}),
        {"label_smoothing": 0.5},
    ],
    ids=str,
)
def test_refused(option: dict[str, float], tmp_path: Path) -> None:
    ((name, value),) = option.items()
    none = False if value is True else 0
    with pytest.raises(ValueError, match=rf"^{name}: expected {none} with a catalogue in shards, got {value}$"):
        tagnn_fast.fit(DATASET, tmp_path / "run", "clean", devices=2, strategy="sharded", accelerator="cpu", **option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("items", "processes"), [(10, 5), (301, 20)])
def test_processes_without_items(items: int, processes: int) -> None:
    """Refused before there is a folder."""
    layout = find_layout(processes, None, "sharded")
    with pytest.raises(ValueError, match=f"^num_items: expected enough that each of {processes} processes holds some"):
        check_layout(ModelConfig(items), TrainingConfig(), layout)


def test_a_network_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagnn_fast.parallel.sharded_model.BUILT_IN", {"sr_gnn": SRGNN})
    with pytest.raises(ValueError, match="^architecture: expected one of sr_gnn with a catalogue in shards"):
        check_layout(ModelConfig(300), TrainingConfig("tagnn"), find_layout(1, None, "sharded"))
