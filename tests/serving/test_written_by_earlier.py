"""What earlier versions wrote still loads, and answers as it did; what it cannot do is refused by name."""

from __future__ import annotations

import json
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import tagnn_fast
from tagnn_fast.data import read_dataset
from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.served_model import ServedModel
from tests.cli.commands import succeed

ARCHIVES = Path(__file__).parent / "written_by_earlier"
VERSIONS = ["version-1-integers", "version-1-strings", "version-2-strings"]
FORMATS = ["torchscript", "program"]


@pytest.fixture(scope="module", params=VERSIONS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive's folder."""
    return unpacked(request.param, tmp_path_factory.mktemp("written"))


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(ARCHIVES / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def one_thread() -> Iterator[None]:
    """As these were written."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same(actual: Any, expected: Any, made: dict[str, Any]) -> None:
    """To the last bit by the same PyTorch on the same instruction set; figures to rounding by others."""
    if (made["torch"], made["cpu"]) == (torch.__version__, tagnn_fast.cpu_capability()):
        assert actual == expected
    elif isinstance(expected, list):
        for value, other in zip(actual, expected, strict=True):
            assert_same(value, other, made)
    else:
        assert actual == (pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected)


def loaded(folder: Path, format: Any) -> ServedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions are warned of
        return tagnn_fast.load(folder / "exported", format)


@pytest.mark.parametrize("format", FORMATS)
def test_export(written: Path, format: str) -> None:
    served, made = loaded(written, format), read(written / "answers.json")
    with one_thread():
        answer = served.recommend(made["sessions"], 5)
        assert_same([answer.items, answer.scores, answer.status], made[format], made)
        assert answer.skipped == [0, 0, 1, 0, 1]
        if f"{format}, exclude_clicked" in made:
            own = served.recommend(made["sessions"], 5, exclude_clicked=True)
            assert_same([own.items, own.scores, own.status], made[f"{format}, exclude_clicked"], made)
        if format == "torchscript" and "scores" in made:
            inputs: Any = made["sessions"][0] + made["sessions"][1], torch.tensor([0, 3, 4])
            assert_same(served.scores(*inputs).tolist(), made["scores"], made)
            assert served.can_explain
            item_ids = served.item_ids()
            assert isinstance(item_ids, list)
            assert_same(served.explain(*inputs, item_ids[1:3]).tolist(), made["explain"], made)


@pytest.mark.parametrize("format", FORMATS)
def test_what_an_old_export_cannot_do(written: Path, format: str) -> None:
    served = loaded(written, format)
    ids = read(written / "answers.json")["sessions"][0]
    refused: dict[str, Any] = {
        name: lambda name=name: served.recommend([ids], 3, **{name: ids}) for name in ("candidates", "exclude")
    }
    if served.manifest["version"] == 1:
        refused["exclude_clicked"] = lambda: served.recommend([ids], 3, exclude_clicked=True)
    if format == "program":
        inputs: Any = ids if isinstance(ids[0], str) else torch.tensor(ids), torch.tensor([0, 3])
        refused["scores"] = lambda: served.scores(*inputs)
        refused["explain"] = lambda: served.explain(*inputs, inputs[0][:1])
    for name, call in refused.items():
        with pytest.raises(
            NotImplementedError, match=f"^{name}: expected an export that can, got an old one: export it"
        ):
            call()


@pytest.mark.parametrize("name", VERSIONS[:2])
def test_run(name: str, tmp_path: Path) -> None:
    """The data set reads, the run recommends as it did, and the stopped run goes on to the same losses."""
    written = unpacked(name, tmp_path)
    made = read(written / "answers.json")
    dataset, run = read_dataset(written / "data"), open_run(written / "run")
    assert dataset.fingerprint() == run.dataset["fingerprint"]
    with one_thread():
        answer = run.recommender().recommend(made["sessions"], 5).to_table().to_pydict()
        assert list(answer) == list(made["run"])
        for column, values in made["run"].items():
            assert_same(answer[column], values, made)
        succeed("train", written / "data", "--resume", written / "stopped")
    losses = [record["training_loss"] for record in read(written / "stopped" / "history.json")]
    assert_same(losses, read(written / "losses.json"), made)
