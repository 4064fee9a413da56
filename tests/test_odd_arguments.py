"""What is easily handed over by mistake is refused by its name, and not taken for something else."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import tagnn_fast
from tagnn_fast.logs import PrepareOptions
from tagnn_fast.logs.jobs import update
from tagnn_fast.recommend_files import recommend_file
from tagnn_fast.runs.run import open_run
from tests.runs.small_runs import write_run

ROWS = {"session": [1, 1, 2, 2, 3, 3], "item": [5, 6, 5, 6, 5, 6], "time": [0, 60, 120, 180, 90_000, 90_060]}
COLUMNS = {"session": "session", "item": "item", "time": "time", "time_unit": "seconds", "minimum_support": 1}


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
    ],
    ids=str,
)
def test_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError) as error:
        tagnn_fast.prepare(pd.DataFrame(ROWS), tmp_path / "data", **{**COLUMNS, **options})
    assert str(error.value) == message
    assert not (tmp_path / "data").exists()


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
        ({"k_max": 10.5}, "k_max: expected an int, got 10.5"),
        ({"bfloat16_table": "no"}, "bfloat16_table: expected True or False, got 'no'"),
    ],
    ids=str,
)
def test_export(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", range(5))
    with pytest.raises(TypeError) as error:
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
