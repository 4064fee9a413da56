"""Recipes are tried on a small data set: lines of results, what is not trained again, the cut catalogue, the lists."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from benchmarks.jobs import recipes, recipes_table
from tagnn_fast.data import Dataset, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.observer import Observer
from tagnn_fast.training.fit import fit
from tagnn_fast.training.protocols import first_held_out
from tests.support import ROOT

TINY: dict[str, Any] = {"hidden_size": 8, "batch_size": 64, "epochs": 2, "patience": 0, "first_decay": 1}
OPTIONS: dict[str, Any] = {**TINY, "cosine_scale": 9.0, "weight_averaging": 0.9, "warmup_steps": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(synthetic_dataset(900, 60), tmp_path_factory.mktemp("recipes") / "data")


def run(monkeypatch: pytest.MonkeyPatch, data: Dataset, folder: Path, given: list[Any], *more: object) -> list[Any]:
    """The lines of results after one more call."""
    (folder / "recipes.json").write_text(json.dumps(given))
    arguments = [data.folder, folder / "recipes.json", folder / "results.jsonl", *more]
    monkeypatch.setattr(sys, "argv", ["recipes", *map(str, arguments)])
    recipes.main()
    results = folder / "results.jsonl"
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def test_results(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fit` gives; a training that has ended is not done again, and none begins where no time is left."""
    given = [{"name": "clean", **TINY}, {"name": "cosine", "seeds": [3], **OPTIONS}]
    assert run(monkeypatch, data, tmp_path, given, "--seconds", -1) == []
    lines = run(monkeypatch, data, tmp_path, given)
    assert [(line["name"], line["seed"], line["epoch"], line["ended"]) for line in lines] == [
        *(("clean", 0, 1, False), ("clean", 0, 2, True)),
        *(("cosine", 3, 1, False), ("cosine", 3, 2, True)),
    ]
    assert run(monkeypatch, data, tmp_path, given) == lines
    for options, found in ((TINY, lines[:2]), ({**OPTIONS, "seed": 3}, lines[2:])):
        folder = tmp_path / found[0]["name"]
        how: dict[str, Any] = {"preset": "clean", "protocol": "held-out", "accelerator": "cpu", "observer": Observer()}
        history = fit(data, folder, **options, **how).history
        if not torch.cuda.is_available():
            assert [line["loss"] for line in found] == [record["training_loss"] for record in history]
            for line, record in zip(found, history, strict=True):
                assert line["MRR@20"] == round(record["validation"]["MRR@20"], 3)
    assert lines[2]["configuration"]["model"]["cosine_scale"] == 9.0
    assert len(run(monkeypatch, data, tmp_path, [{"name": "clean", "seeds": [0, 1], **TINY}])) == 6


def test_table(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every training that ended: means over seeds, what differs between recipes, the best first."""
    given = [{"name": "clean", "seeds": [0, 1], **TINY}, {"name": "cosine", **OPTIONS}]
    lines = run(monkeypatch, data, tmp_path, given)
    broken = {**lines[0], "name": "broken off", "ended": False}
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, broken]))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["recipes_table", str(tmp_path / "results.jsonl")])
    recipes_table.main()
    heading, common, _, _, *rows = filter(None, capsys.readouterr().out.splitlines())
    assert heading == f"## {data.name}"
    assert "`hidden_size=8`" in common
    assert "cosine_scale" not in common
    figures = [[max(line["MRR@20"] for line in lines if (line["name"], line["seed"]) == key) for key in keys]
               for keys in ((("clean", 0), ("clean", 1)), (("cosine", 0),))]  # fmt: skip
    expected = sorted([(mean(figures[0]), "clean", "2", ""), (figures[1][0], "cosine", "1", "`cosine_scale=9.0`")])
    assert len(rows) == 2
    for text, (figure, name, seeds, option) in zip(rows, reversed(expected), strict=True):
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        assert (cells[0], cells[2]) == (name, seeds)
        assert cells[5].startswith(f"{figure:.2f}")
        assert option in cells[1]


def test_last_part(data: Dataset) -> None:
    """Counted in plain Python."""
    part = recipes.cut(data, 0.25, 3)
    kept = first_held_out(data.train)
    train, held_out = (
        [
            sessions.clicks[begin:end].tolist()
            for begin, end in zip(sessions.offsets, sessions.offsets[1:], strict=False)
        ]
        for sessions in (
            data.train.slice(kept - round(kept * 0.25), kept),
            data.train.slice(kept, len(data.train)),
        )
    )
    clicks = [item for session in train for item in session]
    items = [item for item in range(1, len(data.vocabulary) + 1) if clicks.count(item) >= 3]
    assert part.vocabulary.raw_ids.to_pylist() == data.vocabulary.raw_ids.take([i - 1 for i in items]).to_pylist()
    for sessions, examples in ((train, part.train), (held_out, part.validation)):
        left = [[1 + items.index(item) for item in session if item in items] for session in sessions]
        expected = Sessions.from_lists([session for session in left if len(session) > 1])
        assert torch.equal(examples.sessions.clicks, expected.clicks)
        assert torch.equal(examples.sessions.offsets, expected.offsets)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "recipes").glob("*.json")), ids=lambda path: path.stem)
def test_lists(path: Path) -> None:
    """Each is a configuration that can be trained."""
    assert len(list(recipes.read_recipes(path, 50))) >= 5


def test_names(tmp_path: Path) -> None:
    (tmp_path / "twice.json").write_text(json.dumps([{"name": "a"}, {"name": "a"}]))
    with pytest.raises(ValueError, match="expected each name once, got 'a' twice"):
        list(recipes.read_recipes(tmp_path / "twice.json", 50))
