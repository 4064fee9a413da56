"""`tagnn-fast prepare`: the field's exchange files, real and made up, and synthetic clicks."""

from __future__ import annotations

import os
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tagnn_fast.data import read_dataset
from tests.cli.commands import TINY, contents, read, refused, run, succeed, words
from tests.support import shared

EXCHANGES = ["diginetica", "yoochoose1_64"]
TRAIN = [[30, 10, 30, 20], [10, 20], [20], [40, 10, 10]]
TEST = ([[10, 99, 20], [10, 99], [10], [40]], [30, 20, 99, 10])  # one session of four clicks, one of two


class ListUnpickler(pickle.Unpickler):
    """Lists and numbers alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def load(path: Path) -> Any:
    with path.open("rb") as file:
        return ListUnpickler(file).load()


def write_exchange(folder: Path, train: object, test: object, train_name: str = "all_train_seq.txt") -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in ((train_name, train), ("test.txt", test)):
        (folder / name).write_bytes(pickle.dumps(value))
    return folder


def raw_sessions(folder: Path, split: str) -> list[list[int]]:
    """What is in a split, in raw ids; 0 for an item without a row."""
    raw_ids = [0, *pq.read_table(folder / "items.parquet")["raw_id"].to_pylist()]
    return [
        [raw_ids[item] for item in items] for items in pq.read_table(folder / f"{split}.parquet")["items"].to_pylist()
    ]


@pytest.mark.parametrize("name", EXCHANGES)
def test_real_sessions(name: str, tmp_path: Path) -> None:
    """The first sessions of the published files come out click by click."""
    source = shared(f"data/{name}")
    train = load(source / "all_train_seq.txt")[:400]
    prefixes, targets = (part[:300] for part in load(source / "test.txt"))
    output = tmp_path / "data"
    printed = succeed("prepare", "exchange", write_exchange(tmp_path / name, train, (prefixes, targets)), output)

    assert raw_sessions(output, "train") == train
    known = set(chain.from_iterable(train))
    statistics = read(output / "dataset.json")["statistics"]
    assert statistics["items"] == {"count": len(known)}
    assert statistics["train"]["sessions"] == 400
    assert statistics["train"]["clicks"] == sum(map(len, train))
    assert statistics["train"]["examples"] == sum(len(session) - 1 for session in train)
    assert statistics["test"]["examples"] == 300
    assert statistics["test"]["targets_without_a_row"] == sum(target not in known for target in targets)
    assert f"{name}: {len(known):,} items" in printed
    assert f"sessions 400 {statistics['test']['sessions']}" in words(printed)


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_model_can_be_trained_on_real_sessions(name: str, tmp_path: Path) -> None:
    source = shared(f"data/{name}")
    train = load(source / "all_train_seq.txt")[:300]
    test = tuple(part[:100] for part in load(source / "test.txt"))
    succeed("prepare", "exchange", write_exchange(tmp_path / "source", train, test), tmp_path / "data")
    succeed("train", tmp_path / "data", "--run", tmp_path / "run", *TINY)
    session = list(map(str, train[0]))
    assert f"after {' '.join(session)} " in words(succeed("recommend", tmp_path / "run", *session))


def test_exchange(tmp_path: Path) -> None:
    source, output = write_exchange(tmp_path / "source", TRAIN, TEST), tmp_path / "new" / "data"
    printed = succeed("prepare", "exchange", source, output, "--name", "made up")
    assert sorted(contents(tmp_path / "new")) == [
        f"data/{name}" for name in ("dataset.json", "items.parquet", "test.parquet", "train.parquet")
    ]
    assert "made up: 4 items" in words(printed)
    assert "sessions 4 2" in words(printed)
    assert "targets without a row 0 1" in words(printed)
    assert raw_sessions(output, "train") == TRAIN
    assert raw_sessions(output, "test") == [[10, 0, 20, 30], [40, 10]]
    assert [file["name"] for file in read_dataset(output).source["files"]] == ["all_train_seq.txt", "test.txt"]


def test_exchange_of_prefixes(tmp_path: Path) -> None:
    """train.txt holds prefixes, all_train_seq.txt whole sessions: the same, but for sessions of one click."""
    examples = [(session[:cut], session[cut]) for session in TRAIN for cut in range(len(session) - 1, 0, -1)]
    prefixes = write_exchange(tmp_path / "prefixes", tuple(map(list, zip(*examples, strict=True))), TEST, "train.txt")
    succeed("prepare", "exchange", prefixes, tmp_path / "data")
    assert raw_sessions(tmp_path / "data", "train") == [session for session in TRAIN if len(session) > 1]
    assert read(tmp_path / "data" / "dataset.json")["name"] == "prefixes"


@pytest.mark.parametrize("name", ["[/x]", "[red] shoes", "50 [%]"])
def test_names_are_printed_as_they_are(name: str, tmp_path: Path) -> None:
    source = write_exchange(tmp_path / "source", TRAIN, TEST)
    printed = succeed("prepare", "exchange", source, tmp_path / "data", "--name", name)
    assert f"{name}: 4 items" in words(printed)


def test_the_folder_is_named_in_one_line(tmp_path: Path) -> None:
    """However long its path is: it is there to be copied."""
    output = tmp_path / ("long" * 20) / "data"
    assert f"wrote {output}\n" in succeed("prepare", "synthetic", output, "--clicks", 100)


class Command:
    """What a pickle may smuggle in."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([[1, 2], Command()], TEST, "all_train_seq.txt: expected a pickle of lists of integers, got it asks for"),
        ({1: 2}, TEST, "all_train_seq.txt: expected a pickle of lists of integers, got a dictionary"),
        ([[1, 2], []], TEST, "all_train_seq.txt: expected lists of at least one click, got [] at session 1"),
        ([[1, "2"]], TEST, "all_train_seq.txt: expected integer item ids, got str"),
        ([[1, 0]], TEST, "all_train_seq.txt: expected item ids of 1 and more, got 0"),
        ([[1, 1 << 63]], TEST, "all_train_seq.txt: expected item ids below 2^63, got a larger one"),
        (TRAIN, ([[1]], [2, 3]), "test.txt: expected (prefixes, targets) of the same length"),
        (TRAIN, ([[]], [2]), "test.txt: expected a prefix of one click or more, got [] at example 0"),
    ],
)
def test_exchange_files_that_are_refused(
    train: object, test: object, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_exchange(tmp_path / "source", train, test)
    assert refused("prepare", "exchange", source, "data").startswith(f"{source}/{expected}")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]  # no code was run, nothing was written


def test_damaged_exchange_file(tmp_path: Path) -> None:
    source = write_exchange(tmp_path / "source", TRAIN, TEST)
    path = source / "test.txt"
    path.write_bytes(path.read_bytes()[:-9])
    assert refused("prepare", "exchange", source, tmp_path / "data").startswith(f"{path}: expected a pickle of lists")
    path.unlink()
    assert refused("prepare", "exchange", source, tmp_path / "data") == (
        f"{path}: expected all_train_seq.txt or train.txt, and test.txt, in this folder"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", ["exchange", "synthetic"])
def test_folder_that_exists(kind: str, tmp_path: Path) -> None:
    source = [write_exchange(tmp_path / "source", TRAIN, TEST)] if kind == "exchange" else []
    (tmp_path / "data").mkdir()
    assert refused("prepare", kind, *source, tmp_path / "data") == (
        f"{tmp_path / 'data'}: expected a folder that does not exist yet"
    )
    assert contents(tmp_path / "data") == {}


def test_synthetic(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        options = ("--clicks", 500, "--items", 50, "--seed", seed)
        printed = succeed("prepare", "synthetic", tmp_path / name, *options)
        assert f"synthetic-500-50-{seed}: " in words(printed)
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one["train.parquet"] != other["train.parquet"]
    dataset = read_dataset(tmp_path / "one")
    assert dataset.train.clicks.numel() + dataset.test.clicks.numel() == 500
    assert 0 < len(dataset.vocabulary) <= 50


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--clicks", 1, "clicks: expected 2 or more, got 1"),
        ("--items", 0, "items: expected 1 or more, got 0"),
        ("--seed", -1, "seed: expected 0 or more, got -1"),
    ],
)
def test_synthetic_values_that_are_refused(option: str, value: int, expected: str, tmp_path: Path) -> None:
    assert refused("prepare", "synthetic", tmp_path / "data", option, value) == expected
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in refused("prepare", "synthetic", tmp_path / "file" / "data", "--clicks", 100)


def test_missing_arguments() -> None:
    outcome = run("prepare", "exchange", "only-one")
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
