"""`tagnn_fast.prepare` beyond what the command line shows: folders, names, what was called the paper's, errors."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from tagnn_fast import prepare
from tagnn_fast.data import read_dataset, write_dataset
from tagnn_fast.logs import FORMATS
from tagnn_fast.logs.formats import FormatName
from tagnn_fast.logs.jobs import update
from tagnn_fast.logs.update import recorded
from tagnn_fast.observer import Observer
from tests.cli.commands import temporary_files

COLUMNS: dict[str, Any] = {"session": "session", "item": "item", "time": "time", "time_unit": "seconds"}


class Stages(Observer):
    """What was told."""

    def __init__(self) -> None:
        self.told = list[str]()

    def stage(self, what: str) -> None:
        self.told.append(what)


def log(first_day: int = 0, days: int = 4) -> pa.Table:
    """Six sessions of three clicks on each day."""
    rows = [
        (f"{day}-{session}", (7 * day + session + click) % 9, 86_400 * (19_700 + day) + 600 * session + click, "view")
        for day in range(first_day, first_day + days)
        for session in range(6)
        for click in range(3)
    ]
    return pa.table(dict(zip(("session", "item", "time", "kind"), zip(*rows, strict=True), strict=True)))


def in_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path.with_suffix(".parquet"))


def in_text(table: pa.Table, path: Path) -> None:
    pc.write_csv(table, path.with_suffix(".csv"))


def in_lines(table: pa.Table, path: Path) -> None:
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


@pytest.mark.parametrize("write", [in_parquet, in_text, in_lines])
@pytest.mark.parametrize("compressed", [False, True])
def test_one_content_twice(write: Callable[[pa.Table, Path], None], compressed: bool, tmp_path: Path) -> None:
    """All its clicks would count twice; parts without a click may be alike."""
    for number in range(3):
        write(log(7 * number), tmp_path / f"part-{number}")
        write(log().slice(0, 0), tmp_path / f"without-{number}")
    expected = prepare(str(tmp_path), **COLUMNS, observer=Observer())
    assert expected.statistics()["train"]["clicks"] + expected.statistics()["test"]["clicks"] == 3 * len(log())
    first = next(tmp_path.glob("part-0*"))
    other = first.with_name(f"zz-{first.name}")
    if compressed and first.suffix != ".parquet":
        with gzip.open(f"{other}.gz", "wb") as file:
            file.write(first.read_bytes())
    else:
        shutil.copy(first, other)
    with pytest.raises(ValueError, match=rf"zz-part-0.*: expected other clicks than in .*/{first.name}, got the same"):
        prepare(str(tmp_path), **COLUMNS, observer=Observer())


def test_folders(tmp_path: Path) -> None:
    """In memory, or written at once; nothing else is left."""
    stages = Stages()
    data = prepare(log(), **COLUMNS, observer=stages)
    assert stages.told == ["reading", "cutting sessions", "filtering", "splitting", "collecting"]
    assert (data.name, data.folder) == ("data", None)
    written = prepare(log(), tmp_path / "shop", **COLUMNS, observer=stages)
    assert (written.name, written.folder) == ("shop", tmp_path / "shop")
    assert prepare(log(), **COLUMNS, name="clicks", observer=stages).name == "clicks"
    assert read_dataset(tmp_path / "shop").fingerprint() == written.fingerprint() == data.fingerprint()
    with pytest.raises(FileExistsError, match="expected a folder that does not exist yet"):
        prepare(log(), tmp_path / "shop", **COLUMNS, observer=stages)
    prepare(log(), tmp_path / "shop", **COLUMNS, force=True, observer=stages)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    assert temporary_files(tmp_path) == []


def test_update(tmp_path: Path) -> None:
    """Of a data set that was in memory first; a frame of a new day, and the same once more."""
    before = write_dataset(prepare(log(), **COLUMNS, observer=Observer()), tmp_path / "data")
    old, new = update(tmp_path / "data", log(4, 1), observer=Observer())
    assert (old.fingerprint(), new.folder) == (before.fingerprint(), tmp_path / "data")
    assert new.statistics()["train"]["sessions"] > old.statistics()["train"]["sessions"]
    old, new = update(tmp_path / "data", log(4, 1), observer=Observer())
    assert new.source is old.source


def test_what_was_the_papers(tmp_path: Path) -> None:
    """The earlier name of the published rules, as an option and in the record of a data set."""
    published, paper = (
        prepare(log(), **COLUMNS, preset=preset, minimum_support=2, observer=Observer())
        for preset in ("published", "paper")
    )
    assert published.fingerprint() == paper.fingerprint()
    assert published.source["options"] == paper.source["options"]
    assert published.source["options"]["boundary"] == "lost"
    write_dataset(published, tmp_path / "data")
    path = tmp_path / "data" / "dataset.json"
    content = json.loads(path.read_text())
    content["source"]["format"]["paper"] = {"test": "7d"}
    path.write_text(json.dumps(content))
    assert recorded(read_dataset(tmp_path / "data")) == recorded(published)
    assert "published" not in content["source"]["format"]


def test_lists_of_names() -> None:
    observer = Observer()
    one, other = (
        prepare(log(), **COLUMNS, event="kind", events=events, observer=observer) for events in ("view", ["view"])
    )
    assert one.source["format"] == other.source["format"]


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"item": "product"}, ValueError, "frame: expected one column 'product', got session, item, time, kind"),
        ({"test": "1d", "test_from": "2024-01-01"}, ValueError, "expected --test or --test-from, got both"),
        ({"preset": "best"}, ValueError, "preset: expected clean or published, got 'best'"),
        ({"encoding": "latin-1"}, ValueError, "expected text, which may have an encoding"),
        ({"time_unit": "milliseconds"}, ValueError, "time_unit: expected the log's, got milliseconds"),
        ({"from_time": "2030-01-01"}, ValueError, "frame: expected clicks, got none that can be used: 72 × before"),
        ({"engine": "sqlite"}, ValueError, "engine: expected duckdb or spark, got 'sqlite'"),
        ({"minimum_length": 9}, ValueError, "data: expected sessions of 9 clicks or more, got none"),
        ({"minimum_lenght": 9}, TypeError, "minimum_lenght"),
    ],
)
def test_what_is_refused(options: dict[str, Any], kind: type[Exception], expected: str) -> None:
    """Naming the frame, not a file that nobody has made."""
    with pytest.raises(kind) as caught:
        prepare(log(), **{**COLUMNS, **options}, observer=Observer())
    assert expected in str(caught.value)
    assert "/" not in str(caught.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("prepare", "engines"):
        monkeypatch.delitem(sys.modules, f"tagnn_fast.logs.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ibis", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        prepare(log(), tmp_path / "data", **COLUMNS)
    assert str(caught.value) == "prepare needs ibis: pip install 'tagnn_fast[prepare]'"
    assert list(tmp_path.iterdir()) == []


def test_choices() -> None:
    """What types say is what there is."""
    assert set(get_args(FormatName)) == FORMATS.keys()


def test_titles() -> None:
    data = prepare(log(), **COLUMNS, titles={"3": "Red shoes"}, observer=Observer())
    assert data.vocabulary.title(3) == "Red shoes"
    assert dataclasses.replace(data).titles == {"3": "Red shoes"}
