"""What is easily handed over by mistake is refused by its name, and not taken for something else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import tagnn_fast
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.logs import PrepareOptions
from tagnn_fast.logs.jobs import update
from tagnn_fast.observer import Observer
from tagnn_fast.recommend_files import recommend_file
from tagnn_fast.runs.run import open_run
from tests.cli.commands import succeed
from tests.runs.small_runs import write_run

ROWS = {"session": [1, 1, 2, 2, 3, 3], "item": [5, 6, 5, 6, 5, 6], "time": [0, 60, 120, 180, 90_000, 90_060]}
COLUMNS = {"session": "session", "item": "item", "time": "time", "time_unit": "seconds", "minimum_support": 1}

FORMATS = "torchscript, program, compiled, onnx"


@pytest.mark.parametrize(
    "table", [pd.DataFrame({"1": [9]}), pa.table({"1": [9]}), {1: 9}], ids=["frame", "table", "dict"]
)
def test_tables_are_no_lists(table: Any, tmp_path: Path) -> None:
    """Their columns' names, or keys, were taken for item ids."""
    run = open_run(write_run(tmp_path, range(5)))
    recommender = run.recommender()
    for sessions, more in (([table], {}), (table, {}), ([[1]], {"candidates": table}), ([[1]], {"exclude": table})):
        with pytest.raises(TypeError, match="expected"):
            recommender.recommend(sessions, 3, **more)
    assert recommender.recommend([pd.Series([1, 2])], 3).items == recommender.recommend([[1, 2]], 3).items


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force": "no"}, "force: expected True or False, got 'no'"),
        ({"collapse_repeats": "false"}, "collapse_repeats: expected True or False, got 'false'"),
        ({"until_stable": "no"}, "until_stable: expected True or False, got 'no'"),
        ({"name": 5}, "name: expected a string, got 5"),
        ({"minimum_length": 2.5}, "minimum_length: expected an int, got 2.5"),
        ({"titles": [1, 2]}, "titles: expected a file, or titles by item id, got list"),
        ({"titles": {"5": 5}}, "titles: expected strings by item id, got 5 for '5'"),
        ({"gap": 30}, "gap: expected a string, got 30"),
        ({"test": 1}, "test: expected a string, got 1"),
        ({"test": pd.DataFrame(ROWS)}, "test: expected a string, got DataFrame"),
        ({"time_zone": 2}, "time_zone: expected a string, got 2"),
        ({"from_time": 1_700_000_000}, "from_time: expected an ISO date or time, or one of Python's, got 1700000000"),
        ({"memory": "2g"}, "memory: expected an int, got '2g'"),
        ({"max_bad_rows": 0.5}, "max_bad_rows: expected an int, got 0.5"),
        ({"item": 1}, "item: expected a string, got 1"),
        ({"session": b"session"}, "session: expected a string, got b'session'"),
        ({"format": ["otto"]}, "format: expected a string, got ['otto']"),
        ({"separator": 9}, "separator: expected a string, got 9"),
        ({"events": 7, "event": "kind"}, "events: expected strings, or one with commas between, got int"),
        ({"columns": ["a", 1]}, "columns: expected a string, got 1"),
        ({"output": 5}, "output: expected a folder to make, got 5"),
    ],
    ids=str,
)
def test_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError) as error:
        tagnn_fast.prepare(pd.DataFrame(ROWS), **{"output": tmp_path / "data", **COLUMNS, **options})
    assert str(error.value) == message
    assert not (tmp_path / "data").exists()


def test_logs_that_are_none() -> None:
    with pytest.raises(ValueError, match="^logs: expected one path or more, got none$"):
        tagnn_fast.prepare([], **COLUMNS)
    twice = pd.DataFrame([[1, 5, 0, 0]], columns=["session", "item", "time", "time"])
    with pytest.raises(ValueError, match="^frame: expected columns of different names, got others: Duplicate column"):
        tagnn_fast.prepare(twice, **COLUMNS)


def test_memory_that_is_too_little() -> None:
    with pytest.raises(ValueError, match="^memory: expected 200 or more, got 3$"):
        tagnn_fast.prepare(pd.DataFrame(ROWS), **COLUMNS, memory=3)


def test_dates_of_python() -> None:
    """They mean what their text does, and are recorded as such."""
    texts = {"from_time": "1969-12-31", "until_time": "1970-01-03T00:00:00", "test_from": "1970-01-01T12:00:00"}
    dates = {
        "from_time": date(1969, 12, 31),
        "until_time": datetime(1970, 1, 3),
        "test_from": pd.Timestamp("1970-01-01 12:00"),
    }
    made = [tagnn_fast.prepare(pd.DataFrame(ROWS), **COLUMNS, **options) for options in (texts, dates)]
    assert made[0].source["options"] == made[1].source["options"]
    assert made[0].fingerprint() == made[1].fingerprint()
    assert PrepareOptions(test_from=datetime(2024, 5, 1, tzinfo=UTC)).split_date() == 1_714_521_600 * 10**6
    with pytest.raises(ValueError, match="^test_from: expected an ISO date or time, got 'NaT'$"):
        PrepareOptions(test_from=pd.NaT)


def test_titles_by_integers() -> None:
    data = tagnn_fast.prepare(pd.DataFrame(ROWS), **COLUMNS, titles={5: "five", 6: "six"})
    assert [data.vocabulary.title(item) for item in (5, 6)] == ["five", "six"]


def test_counts_of_numpy() -> None:
    import numpy as np

    assert type(PrepareOptions(minimum_support=np.int64(3)).minimum_support) is int


def test_answers_over_sessions(tmp_path: Path) -> None:
    """They would be gone."""
    sessions = tmp_path / "s.csv"
    sessions.write_text("items\n1 2\n")
    recommender = open_run(write_run(tmp_path / "run", range(5))).recommender()
    with pytest.raises(ValueError, match="expected another file than that of the sessions, got the same"):
        recommend_file(recommender, sessions, sessions, 3)
    assert sessions.read_text() == "items\n1 2\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k_max": 10.5, "formats": ["program"]}, "k_max: expected an int, got 10.5"),
        ({"bfloat16_table": "no"}, "bfloat16_table: expected True or False, got 'no'"),
        ({"k_max": 9}, "k_max: expected none for TorchScript, which gives lists of any length, got 9"),
        ({"formats": "onnx"}, f"formats: expected some of {FORMATS}, got 'onnx'"),
        ({"formats": ["onnxx"]}, f"formats: expected some of {FORMATS}, got ['onnxx']"),
        ({"formats": []}, f"formats: expected some of {FORMATS}, got []"),
    ],
    ids=str,
)
def test_export(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", range(5))
    with pytest.raises((TypeError, ValueError)) as error:
        tagnn_fast.export(run, tmp_path / "exported", **options)
    assert str(error.value) == message


def test_another_data_set_that_was_updated(tmp_path: Path) -> None:
    """A run is evaluated on what became of its data set, and not on another in its place that was updated, too."""
    random = Random(0)

    def log(first_day: int, days: int) -> pd.DataFrame:
        sessions = [random.randrange(5, 15) for _ in range(100 * days)]
        rows = [
            (first_day * 1000 + n, item + k % 2, first_day * 86_400 + n * 860 + k)
            for n, item in enumerate(sessions)
            for k in range(3)
        ]
        return pd.DataFrame(rows, columns=["session", "item", "time"])

    tagnn_fast.prepare(log(1, 3), tmp_path / "data", **COLUMNS)
    run = tagnn_fast.fit(tmp_path / "data", tmp_path / "run", hidden_size=8, epochs=1, observer=tagnn_fast.Observer())
    update(tmp_path / "data", log(4, 1), observer=tagnn_fast.Observer())
    assert tagnn_fast.evaluate(run, observer=tagnn_fast.Observer()).examples > 0
    tagnn_fast.prepare(log(1, 3), tmp_path / "data", force=True, **COLUMNS)
    update(tmp_path / "data", log(4, 1), observer=tagnn_fast.Observer())
    with pytest.raises(ValueError, match="dataset: expected the sessions and items of the run's"):
        tagnn_fast.evaluate(run, observer=tagnn_fast.Observer())


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell would name it; no folder is ever called "~"."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    data = tagnn_fast.write_dataset(synthetic_dataset(clicks=500, items=40), "~/data")
    run = tagnn_fast.fit("~/data", "~/run", config={"architecture": "popularity"}, observer=Observer())
    tagnn_fast.export(tagnn_fast.open_run("~/run"), Path("~/exported"), formats=["torchscript"])
    assert tagnn_fast.load("~/exported").recommend([[]], k=3).items == run.recommender().recommend([[]], k=3).items
    succeed("train", data.folder, "--run=~/other", "--architecture", "popularity")
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["data", "exported", "other", "run"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
