"""`tagnn-fast train`: what each preset, protocol and option gives, what a run leaves, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tagnn_fast import ModelConfig
from tagnn_fast.runs.configuration import PROTOCOLS, TrainingConfig
from tagnn_fast.runs.methods import method_names
from tests.cli.commands import TINY, contents, looks_at_test_set, read, refused, run, succeed, temporary_files, words
from tests.support import forget_digests

LEFT = {
    "checkpoints",
    "config.json",
    "curves.png",
    "history.json",
    "items.parquet",
    "model.safetensors",
    "result.json",
    "tensorboard",
}


def configuration(folder: Path) -> dict[str, object]:
    content = read(folder / "config.json")
    return {**content["model"], **content["training"]}


def test_what_a_run_leaves(data: Path, trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {*LEFT, "test_ranks.parquet", "test_reads.jsonl"}
    config, history = read(trained / "config.json"), read(trained / "history.json")
    statistics = read(data / "dataset.json")["statistics"]
    described = {"name": "synthetic-900-200-0", "path": str(data), "statistics": statistics}
    assert config["dataset"].items() >= described.items()
    assert configuration(trained)["num_items"] == statistics["items"]["count"]
    assert [record["epoch"] for record in history] == [1, 2]
    assert history[1]["training_loss"] < history[0]["training_loss"]
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["epoch-002-step-000000"]
    assert len(list((trained / "tensorboard").iterdir())) == 1
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (
        load_file(trained / "model.safetensors").keys()
        == load_file(trained / "checkpoints" / "epoch-002-step-000000" / "model.safetensors").keys()
    )
    assert temporary_files(trained) == []


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("clean", {"hidden_size": 100, "batch_size": 256, "semantics": "clean", "protocol": "held-out-refit"}),
        (
            "published-diginetica",
            {"hidden_size": 100, "batch_size": 50, "semantics": "published", "protocol": "published"},
        ),
        (
            "published-yoochoose",
            {"hidden_size": 120, "batch_size": 75, "semantics": "published", "protocol": "published"},
        ),
    ],
)
def test_presets(preset: str, expected: dict[str, object], data: Path, tmp_path: Path) -> None:
    """A preset's own configuration, whole; the padded length of the published semantics is the data set's."""
    folder = tmp_path / "run"
    printed = succeed("train", data, "--run", folder, "--preset", preset, "--epochs", 1, "--accelerator", "cpu")
    published = expected["semantics"] == "published"
    longest = read(data / "dataset.json")["statistics"]["train"]["longest_prefix"]
    expected = {**expected, "padded_length": longest if published else None, "architecture": "tagnn_pp", "epochs": 1}
    assert configuration(folder).items() >= expected.items()
    assert ("Beware" in printed) == published
    assert f"wrote {folder}" in words(printed)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols(protocol: str, data: Path, tmp_path: Path) -> None:
    """Which protocol looks at the test set when, and what it says of its figures."""
    folder = tmp_path / "run"
    printed = succeed("train", data, "--run", folder, *TINY, "--protocol", protocol)
    result, history = read(folder / "result.json"), read(folder / "history.json")
    looks, published = looks_at_test_set(folder), protocol.startswith("published")
    reads = {"published": 0, "published-test": 2}.get(protocol, 1)

    left = {path.name for path in folder.iterdir()} - {"test_ranks.parquet", "test_reads.jsonl"}
    assert left == LEFT | ({"held_out.safetensors"} if protocol == "held-out-refit" else set())
    assert configuration(folder)["protocol"] == result["protocol"] == protocol
    assert len(looks) == reads
    assert all(look["reader"] == "train" and look["dataset"] == "synthetic-900-200-0" for look in looks)
    assert ("Beware" in printed) == bool(result["caution"]) == published
    refit = [record for record in history if "refit" in record]
    assert len(refit) == (result["epoch"] if protocol == "held-out-refit" else 0)
    assert history[:2] + refit == history
    assert all(("validation" in record) == (protocol != "all") for record in history[:2])
    scored = {"published": "held-out prefixes", "published-test": "test set"}.get(protocol, "validation")
    assert protocol == "all" or printed.count(f", {scored} MRR@20") == 2
    assert printed.count("on all sessions: training loss") == len(refit)
    if published:
        assert "test" not in result
        for name, best in result["best_of_each_metric"].items():
            values = [record["validation"][name] for record in history]
            assert (best["value"], best["epoch"]) == (max(values), values.index(max(values)) + 1)
        assert "best of each metric" in printed
    else:
        figures = [record["validation"]["MRR@20"] for record in history[:2]] if protocol != "all" else [0, 1]
        assert result["epoch"] == looks[0]["epoch"] == figures.index(max(figures)) + 1
        assert result["test"] == looks[0]["figures"]
        assert f"{result['test']['HR@20']:.2f}" in printed
    if protocol == "published-test":
        assert [(look["epoch"], look["figures"]) for look in looks] == [
            (record["epoch"], record["validation"]) for record in history
        ]


OPTIONS = {
    "architecture": "tagnn_pp",
    "hidden_size": 12,
    "rounds": 2,
    "heads": 3,
    "attention_dropout": 0.25,
    "hybrid": True,
    "readout_softmax": True,
    "cosine_scale": 12.5,
    "learned_scale": True,
    "session_share": 0.25,
    "learned_share": True,
    "item_dropout": 0.125,
    "recency": "readout",
    "highway": True,
    "neighbour_weight": 0.5,
    "neighbour_attention": True,
    "repeats": True,
    "star": True,
    "click_counts": True,
    "edge_counts": True,
    "item_readout": False,
    "second_readout": True,
    "semantics": "published",
    "padded_length": 30,
    "protocol": "held-out-refit",
    "epochs": 4,
    "patience": 4,
    "batch_size": 200,
    "max_clicks_per_batch": 5_000,
    "learning_rate": 0.01,
    "weight_decay": 0.001,
    "first_decay": 1,
    "decay_every": 2,
    "decay_factor": 0.5,
    "optimizer": "adamw",
    "weight_decay_on": "matrices",
    "schedule": "step",
    "warmup_steps": 2,
    "gradient_clipping": 5.0,
    "adaptive_clipping": 0.25,
    "label_smoothing": 0.125,
    "chronological_epochs": 1,
    "weight_averaging": 0.875,
    "example_half_life": 0.5,
    "seed": 7,
    "precision": "64-true",
    "accelerator": "cpu",
}


def flag(name: str, value: object) -> list[object]:
    option = name.replace("_", "-")
    return [f"--{option}" if value else f"--no-{option}"] if isinstance(value, bool) else [f"--{option}", value]


def test_every_field_has_an_option(data: Path, tmp_path: Path) -> None:
    assert {field.name for cls in (ModelConfig, TrainingConfig) for field in fields(cls)} == {
        *OPTIONS,
        "num_items",
        "options",
    }
    arguments = [argument for name, value in OPTIONS.items() for argument in flag(name, value)]
    succeed("train", data, "--run", tmp_path / "run", *arguments)
    found = configuration(tmp_path / "run")
    assert found == {**OPTIONS, "num_items": found["num_items"], "options": {}}  # no option: for networks of one's own
    rates = [record["learning_rate"] for record in read(tmp_path / "run" / "history.json")][:4]
    assert rates == pytest.approx([0.01, 0.005, 0.005, 0.0025])
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert weights["item_embedding.weight"].shape[1] == 12
    assert all(value.dtype.itemsize == 8 for value in weights.values())


@pytest.mark.parametrize("option", [("--architecture", "sr_gnn"), ("--precision", "bf16-mixed"), ("--no-hybrid",)])
def test_other_choices(option: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    succeed("train", data, "--run", tmp_path / "run", *TINY, "--epochs", 1, *option)
    name, value = option[0].removeprefix("--"), option[-1]
    expected = {"hybrid": False} if name == "no-hybrid" else {name: value}
    assert configuration(tmp_path / "run").items() >= expected.items()


def test_the_seed_decides(trained: Path, data: Path, tmp_path: Path) -> None:
    losses = {}
    for name, seed in (("same", 0), ("other", 1)):
        succeed("train", data, "--run", tmp_path / name, *TINY, "--seed", seed)
        losses[name] = read(tmp_path / name / "history.json")[0]["training_loss"]
    first = read(trained / "history.json")[0]["training_loss"]
    assert losses["same"] == first
    assert losses["other"] != first


@pytest.mark.parametrize("name", ["long" * 20, "[red]", "[/x]"])
def test_the_run_is_named_as_it_is(name: str, data: Path, tmp_path: Path) -> None:
    """In one line, to be copied: neither broken nor read as markup."""
    printed = succeed("train", data, "--run", tmp_path / name, *TINY, "--epochs", 1)
    assert f"wrote {tmp_path / name}\n" in printed


def test_an_epoch_is_one_line(data: Path, tmp_path: Path) -> None:
    """Also in a log file, which has no width."""
    lines = succeed("train", data, "--run", tmp_path / "run", *TINY).splitlines()
    epochs = [line for line in lines if line.startswith("epoch ") and "training loss" in line]
    assert len(epochs) == 2
    assert all("validation HR@20" in line and line.split()[-1].replace(".", "").isdigit() for line in epochs)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--preset", "x", "preset: expected one of clean, best, published-diginetica, published-yoochoose, got 'x'"),
        ("--protocol", "none", f"protocol: expected one of {', '.join(PROTOCOLS)}, got 'none'"),
        ("--architecture", "bert", f"architecture: expected one of {', '.join(method_names())}, got 'bert'"),
        ("--precision", "16", "precision: expected one of 32-true, 64-true, bf16-mixed, high, medium, got '16'"),
        ("--semantics", "new", "semantics: expected 'clean' or 'published', got 'new'"),
        ("--hidden-size", 0, "hidden_size: expected 1 or more, got 0"),
        ("--heads", 3, "heads: expected a divisor of hidden_size 8, got 3"),
        ("--rounds", 0, "rounds: expected 1 or more, got 0"),
        ("--steps", 0, "rounds: expected 1 or more, got 0"),
        ("--attention-dropout", 1, "attention_dropout: expected a rate in [0, 1), got 1.0"),
        ("--padded-length", -1, "padded_length: expected 0 or more, got -1"),
        ("--epochs", 0, "epochs: expected 1 or more, got 0"),
        ("--patience", -1, "patience: expected 0 or more, got -1"),
        ("--batch-size", -2, "batch_size: expected 1 or more, got -2"),
        ("--learning-rate", "nan", "learning_rate: expected a finite number of 0 and more, got nan"),
        ("--weight-decay", -1, "weight_decay: expected a finite number of 0 and more, got -1.0"),
        ("--first-decay", -1, "first_decay: expected 0 or more, got -1"),
        ("--decay-every", 0, "decay_every: expected 1 or more, got 0"),
        ("--decay-factor", "inf", "decay_factor: expected a finite number of 0 and more, got inf"),
        ("--seed", -1, "seed: expected 0 or more, got -1"),
        ("--seed", 1 << 32, "seed: expected less than 2^32, got 4294967296"),
        ("--accelerator", "abacus", "abacus"),
        ("--accelerator", "mps", "mps"),
    ],
)
def test_values_that_are_refused(option: str, value: object, expected: str, data: Path, tmp_path: Path) -> None:
    """In a line, and without a run folder that would be in the way of the next try."""
    printed = refused("train", data, "--run", tmp_path / "run", *TINY, option, value)
    assert expected in printed if option == "--accelerator" else printed == expected
    assert list(tmp_path.iterdir()) == []


def test_values_of_another_type(data: Path, tmp_path: Path) -> None:
    outcome = run("train", data, "--run", tmp_path / "run", "--epochs", "many")
    assert outcome.returncode == 2
    assert "Invalid value for '--epochs'" in words(outcome.stderr)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing(data: Path, tmp_path: Path) -> None:
    expected = "train: expected DATASET and --run, or --resume"
    assert refused("train") == expected
    assert refused("train", data) == expected
    assert refused("train", "--run", tmp_path / "run") == expected
    nowhere = tmp_path / "nowhere"
    assert refused("train", nowhere, "--run", tmp_path / "run") == (
        f"{nowhere}: expected a data set folder with a dataset.json in it"
    )
    assert refused("train", "--resume", nowhere) == f"{nowhere}: expected a run folder with a config.json in it"
    assert list(tmp_path.iterdir()) == []


def test_run_folder_that_exists(data: Path, copied: Path) -> None:
    before = contents(copied)
    assert refused("train", data, "--run", copied, *TINY) == (f"{copied}: expected a folder that does not exist yet")
    assert contents(copied) == before


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("dataset.json", "expected JSON, got "),
        ("train.parquet", "damaged Parquet file"),
        ("items.parquet", "damaged Parquet file"),
    ],
)
def test_damaged_data_set(file: str, expected: str, data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(data, tmp_path / "data"))
    content = (other / file).read_bytes()
    (other / file).write_bytes(content[: len(content) // 2])
    printed = refused("train", other, "--run", tmp_path / "run")
    assert str(other / file) in printed
    assert expected in printed
    assert not (tmp_path / "run").exists()


def test_newer_data_set(data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(data, tmp_path / "data"))
    information = read(other / "dataset.json")
    (other / "dataset.json").write_text(json.dumps({**information, "version": information["version"] + 1}))
    printed = refused("train", other, "--run", tmp_path / "run")
    assert printed.startswith(f"{other / 'dataset.json'}: expected version 1")
    assert printed.endswith("got 2: a newer tagnn_fast wrote it")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sessions", "protocol"),
    [
        ([[1], [2], [3]], "all"),
        ([[1, 2, 3, 4, 5]] * 9, "held-out"),
        ([[1, 2], [3, 4]], "published"),
    ],
    ids=["single clicks", "nothing to hold out", "no tenth"],
)
def test_too_few_sessions(sessions: list[list[int]], protocol: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    for name, value in (("all_train_seq.txt", sessions), ("test.txt", ([[1]], [2]))):
        (source / name).write_bytes(pickle.dumps(value))
    succeed("prepare", "exchange", source, tmp_path / "data")
    printed = refused("train", tmp_path / "data", "--run", folder, *TINY, "--protocol", protocol)
    assert "expected at least one session of two clicks, got none" in printed
    assert not folder.exists()


def test_few_items(tmp_path: Path) -> None:
    """A catalogue shorter than the shortest cutoff is trained on, or refused before there is a folder."""
    source, folder = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    for name, value in (("all_train_seq.txt", [[1, 2, 3]] * 20), ("test.txt", ([[1]], [2]))):
        (source / name).write_bytes(pickle.dumps(value))
    succeed("prepare", "exchange", source, tmp_path / "data")
    outcome = run("train", tmp_path / "data", "--run", folder, *TINY)
    assert outcome.returncode == 0 or ("items" in outcome.stderr and not folder.exists())


def test_no_test_sessions(data: Path, tmp_path: Path) -> None:
    """Then there is nothing to look at."""
    other = Path(shutil.copytree(data, tmp_path / "data"))
    forget_digests(other / "dataset.json")
    pq.write_table(pq.read_table(other / "test.parquet").slice(0, 0), other / "test.parquet")
    succeed("train", other, "--run", tmp_path / "run", *TINY, "--epochs", 1)
    assert "test" not in read(tmp_path / "run" / "result.json")
    assert looks_at_test_set(tmp_path / "run") == []


def test_divergence(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    printed = refused("train", data, "--run", folder, *TINY, "--learning-rate", 1e30)
    assert printed.startswith("loss: expected finite numbers, got ")
    assert printed.endswith("in epoch 1: training diverged; a lower learning rate may help")
    assert not (folder / "model.safetensors").exists()
    assert list((folder / "checkpoints").iterdir()) == []


def test_too_little_memory(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that names what needs less."""

    def fail(steps: object, number: int) -> torch.Tensor:
        return torch.empty(1 << 60)  # what the allocator says is PyTorch's own

    monkeypatch.setattr("tagnn_fast.training.steps.Steps.take", fail)
    printed = refused("train", data, "--run", tmp_path / "run", *TINY)
    assert printed.startswith("not enough memory: expected enough for a step of training; a lower ")
    assert "--max-clicks-per-batch" in printed
    assert "--max-session-clicks" in printed
