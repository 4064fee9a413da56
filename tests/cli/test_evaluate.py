"""`tagnn-fast evaluate`: the model beside its baselines, and the log of looks at the test set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import read_dataset
from tagnn_fast.runs.run import open_run
from tests.cli.commands import TINY, contents, looks_at_test_set, read, refused, run, succeed, words
from tests.logs.running import raw
from tests.support import forget_digests


def row(printed: str, name: str) -> list[float]:
    """The figures of a row of the printed table."""
    line = next(line for line in printed.splitlines() if line.startswith(f"│ {name} "))
    return [float(cell) for cell in line.strip("│").split("│")[1:]]


def test_model_and_baselines(copied: Path) -> None:
    """What training printed of its one look, and four baselines; each call is another look."""
    result, before = read(copied / "result.json")["test"], contents(copied)
    for looks in (2, 3):
        printed = succeed("evaluate", copied)
        assert "synthetic-900-200-0, test sessions, in percent" in words(printed)
        assert "HR@20 ┃ MRR@20 ┃ NDCG@20 ┃ coverage@20" in printed
        figures = [result[name] for name in ("HR@20", "MRR@20", "NDCG@20", "coverage@20")]
        assert row(printed, "tagnn_pp") == [round(value, 2) for value in figures]
        popularity, in_session = row(printed, "popularity"), row(printed, "session popularity")
        assert 0 < popularity[0] <= 100
        assert row(printed, "vs knn")[0] > popularity[0]
        assert row(printed, "sequential rules")[0] > popularity[0]  # most synthetic clicks are near the one before
        assert in_session[0] > popularity[0]  # a fifth of the synthetic clicks goes back to an item of the session
        assert f"looks at a test set so far: {looks}" in printed
        first, *others = looks_at_test_set(copied)
        assert first["reader"] == "train"
        assert len(others) == looks - 1
        assert all(look["reader"] == "evaluate" and look["figures"] == result for look in others)
    after = contents(copied)
    assert {name for name in after if after[name] != before.get(name)} == {"test_reads.jsonl"}
    assert after["test_reads.jsonl"].startswith(before["test_reads.jsonl"])


@pytest.mark.parametrize("architecture", ["tagnn", "sr_gnn"])
@pytest.mark.parametrize("semantics", ["clean", "published"])
def test_other_models(architecture: str, semantics: str, data: Path, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--architecture", architecture, "--semantics", semantics)
    succeed("train", data, "--run", tmp_path / "run", *TINY, *options)
    result = read(tmp_path / "run" / "result.json")["test"]
    assert row(succeed("evaluate", tmp_path / "run"), architecture)[0] == round(result["HR@20"], 2)


def test_published_run(data: Path, tmp_path: Path) -> None:
    """Training did not look; this is the first look."""
    succeed("train", data, "--run", tmp_path / "run", *TINY, "--protocol", "published")
    assert "looks at a test set so far: 1" in succeed("evaluate", tmp_path / "run")


def test_another_data_set_of_the_same_items(data: Path, copied: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(data, tmp_path / "other"))
    forget_digests(other / "dataset.json")
    pq.write_table(pq.read_table(data / "test.parquet").slice(0, 5), other / "test.parquet")
    printed = words(succeed("evaluate", copied, "--dataset", other))
    assert "Beware: Of 5 test sessions 5 are not known to be later than those" in printed
    first, second = looks_at_test_set(copied)
    assert first["figures"] != second["figures"]


def test_data_set_that_is_refused(data: Path, copied: Path, tmp_path: Path) -> None:
    before = contents(copied)
    succeed("prepare", "synthetic", tmp_path / "others", "--clicks", 300, "--items", 30)
    assert refused("evaluate", copied, "--dataset", tmp_path / "others").startswith(
        "dataset: expected the items of the run (148), got others"
    )
    renamed = Path(shutil.copytree(data, tmp_path / "renamed"))
    forget_digests(renamed / "dataset.json")
    items = pq.read_table(data / "items.parquet")
    names = pa.array(range(7, 7 + items.num_rows), pa.int64())
    pq.write_table(items.set_column(0, "raw_id", names), renamed / "items.parquet")
    assert refused("evaluate", copied, "--dataset", renamed).startswith("dataset: expected the items of the run")
    nowhere = tmp_path / "nowhere"
    assert refused("evaluate", copied, "--dataset", nowhere) == (
        f"{nowhere}: expected a data set folder with a dataset.json in it"
    )
    empty = Path(shutil.copytree(data, tmp_path / "empty"))
    forget_digests(empty / "dataset.json")
    pq.write_table(pq.read_table(data / "test.parquet").slice(0, 0), empty / "test.parquet")
    assert refused("evaluate", copied, "--dataset", empty) == (
        "synthetic-900-200-0: expected test sessions of two clicks or more, got none"
    )
    assert contents(copied) == before


def write_days(path: Path, days: range, items: int) -> Path:
    """Sessions of five clicks on items that stand side by side, twenty a day."""
    generator = np.random.default_rng(days.start)
    rows = [
        f"d{day}s{session},{(first + place) % items + 1},{day * 86400 + session * 60 + place}"
        for day in days
        for session, first in enumerate(generator.integers(0, items, 20))
        for place in range(5)
    ]
    path.write_text("\n".join(["s,i,t", *rows, ""]))
    return path


def test_run_from_before_an_update(tmp_path: Path) -> None:
    """On the new test set, by raw ids: items that the run has no row for are misses, and count."""
    data, folder = tmp_path / "data", tmp_path / "run"
    columns = ("--session-column", "s", "--item-column", "i", "--time-column", "t", "--time-unit", "seconds")
    succeed("prepare", "logs", write_days(tmp_path / "old.csv", range(1, 5), 30), data, *columns)
    succeed("train", data, "--run", folder, *TINY, "--protocol", "all")
    beside = Path(shutil.copytree(data, tmp_path / "beside"))
    succeed("prepare", "update", data, write_days(tmp_path / "new.csv", range(5, 8), 40))
    grown, opened = read_dataset(data), open_run(folder)
    assert len(grown.vocabulary) > len(opened.vocabulary)

    sessions = [list(map(int, items)) for items in raw(grown.test, grown)]
    examples = [(items[:end], items[end]) for items in sessions for end in range(1, len(items))]
    unknown = sum(target not in opened.vocabulary.raw_ids.to_pylist() for _, target in examples)
    assert 0 < unknown < len(examples)
    lists = opened.recommender().recommend([prefix for prefix, _ in examples], k=20).to_table()["item"].to_numpy()
    hits = sum(target in best for (_, target), best in zip(examples, lists.reshape(-1, 20), strict=True))
    clicks = grown.vocabulary.counts[grown.vocabulary.encode(opened.vocabulary.raw_ids) - 1]
    popular = opened.vocabulary.raw_ids.take(np.argsort(-clicks, kind="stable"))[:20].to_pylist()
    popular_hits = sum(target in popular for _, target in examples)
    for options in ((), ("--dataset", data)):
        printed = succeed("evaluate", folder, *options)
        assert row(printed, "tagnn_pp")[0] == round(100 * hits / len(examples), 2)
        assert row(printed, "popularity")[0] == round(100 * popular_hits / len(examples), 2)
        assert f"targets without a row in the run, which are misses: {unknown} of {len(examples)}" in words(printed)
        assert "Beware" not in printed
    assert "without a row in the run" not in succeed("evaluate", folder, "--dataset", beside)
    assert len(looks_at_test_set(folder)) == 4


def test_run_that_is_refused(copied: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused("evaluate", nowhere) == f"{nowhere}: expected a run folder with a config.json in it"
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert refused("evaluate", copied).startswith(f"{weights}: expected a safetensors file, got a damaged one")
    weights.unlink()
    assert refused("evaluate", copied) == f"{weights}: expected weights; the run has not finished an epoch"
    assert len(looks_at_test_set(copied)) == 1


def test_weights_of_another_run(data: Path, copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    succeed("train", data, "--run", other, *TINY, "--epochs", 1, "--hidden-size", 6)
    shutil.copy(other / "model.safetensors", copied)
    printed = refused("evaluate", copied)
    assert printed.startswith(f"{copied / 'model.safetensors'}: expected ")
    assert printed.endswith(": it belongs to another configuration")


def test_missing_arguments() -> None:
    assert run("evaluate").returncode == 2
