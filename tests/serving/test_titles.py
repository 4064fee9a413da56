"""Titles travel with the items: from a file to a data set, a run, an exported folder, and what loads it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tagnn_fast.data import Dataset, Vocabulary, synthetic_dataset, write_dataset
from tagnn_fast.runs.configuration import make_model
from tagnn_fast.runs.run import create_run
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import load
from tagnn_fast.training.recipes import resolve

TITLES = ["Teapot, “blue”", "<b>Crème</b> brûlée", None, "茶壶"]


def served_items(dataset: Dataset, folder: Path) -> Vocabulary:
    """The items of the data set, after all that happens on the way."""
    write_dataset(dataset, folder / "data")
    model, training = resolve("clean", {"hidden_size": 8}, len(dataset.vocabulary), longest_prefix=12)
    run = create_run(folder / "run", model, training, dataset, folder / "data")
    run.keep_model(make_model(model, training).state_dict(), 1)
    manifest = export(run, folder / "exported")
    assert "items.parquet" in manifest["files"]
    return load(folder / "exported").vocabulary


def test_to_what_is_served(tmp_path: Path) -> None:
    made = synthetic_dataset(clicks=300, items=4)
    raw_ids = pa.array([f"i{number}" for number in range(len(made.vocabulary))])
    untitled = Dataset("titled", made.train, made.test, Vocabulary(raw_ids, made.vocabulary.counts))
    titles = {f"i{number}": title for number, title in enumerate(TITLES) if title is not None}
    vocabulary = served_items(untitled.with_titles(titles), tmp_path)
    assert vocabulary.titles.to_pylist() == TITLES
    assert vocabulary.counts.tolist() == made.vocabulary.counts.tolist()
    assert vocabulary.title("i1") == "<b>Crème</b> brûlée"
