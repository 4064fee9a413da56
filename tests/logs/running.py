"""Running the pipeline in tests, on either engine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tagnn_fast.data import Dataset, Sessions
from tagnn_fast.logs import (
    FORMATS,
    PUBLISHED,
    DuckDB,
    LogFormat,
    PrepareOptions,
    Spark,
    find_files,
    prepare_logs,
    update_dataset,
)
from tagnn_fast.logs.update import recorded
from tests.support import shared

USER_LOG = LogFormat(
    "users", owner="user", owner_is_user=True, item="item", time="time", event="event", events=("view",)
)
# Every rule, each with others.
CASES: dict[str, dict[str, Any]] = {
    "gap": {"sessions": "gap"},
    "long gap, far zone": {"sessions": "gap", "gap": "8h", "time_zone": "Asia/Tokyo", "test": "2d"},
    "day": {"sessions": "day", "collapse_repeats": True, "time_zone": "America/St_Johns"},
    "paper": {"sessions": "gap", **PUBLISHED, "date_unit": "1s", "order": "file"},
    "until stable": {"sessions": "gap", "minimum_length": 3, "minimum_support": 20, "until_stable": True},
    "everything kept": {"sessions": "day", "minimum_length": 1, "minimum_support": 1, "cold_items": "keep"},
    "last clicks": {"sessions": "day", "maximum_length": 3, "date": "last row", "test_from": "2024-03-05"},
    "window": {
        "sessions": "gap",
        "from_time": "2024-02-25",
        "until_time": "2024-03-08",
        "time_zone": "Asia/Tokyo",
    },
    "fraction": {"sessions": "day", "fraction": 4, "max_session_clicks": 5, "minimum_support": 2},
}
GOLDENS = {
    "diginetica_sample": ("diginetica", "sample_train-item-views.csv", 1),
    "yoochoose_100k_full": ("yoochoose", "yoochoose-clicks-100k.dat", 1),
    "yoochoose_100k_quarter": ("yoochoose", "yoochoose-clicks-100k.dat", 4),
    "yoochoose_100k_sixtyfourth": ("yoochoose", "yoochoose-clicks-100k.dat", 64),
}


def prepared(
    logs: str | Sequence[str], form: LogFormat, options: PrepareOptions, engine: str = "duckdb", bad: int = 10**9
) -> Dataset:
    """A data set from logs."""
    patterns = [logs] if isinstance(logs, str) else logs
    with tempfile.TemporaryDirectory() as folder:
        kind = {"duckdb": DuckDB, "spark": Spark}[engine]
        with kind(Path(folder), options.time_zone) as running:
            return prepare_logs(running, find_files(patterns, form), form, options, "test", bad)


def updated(
    dataset: Dataset, logs: str | Sequence[str], form: LogFormat, engine: str = "duckdb", bad: int = 0
) -> Dataset:
    """A data set with new logs."""
    patterns = [logs] if isinstance(logs, str) else logs
    with tempfile.TemporaryDirectory() as folder:
        kind = {"duckdb": DuckDB, "spark": Spark}[engine]
        with kind(Path(folder), recorded(dataset)[1].time_zone) as running:
            return update_dataset(running, find_files(patterns, form), dataset, bad)


def paper_options(name: str, fraction: int = 1) -> PrepareOptions:
    """What --preset paper means for a format."""
    return PrepareOptions(**{**PUBLISHED, **FORMATS[name].published, "fraction": fraction})


def golden_log(name: str) -> tuple[str, LogFormat, PrepareOptions]:
    """The real log that a golden was made of, and what was done with it; skips the test where there is none."""
    form, log, fraction = GOLDENS[name]
    return str(shared(f"data/{log}")), FORMATS[form], paper_options(form, fraction)


def raw(sessions: Sessions, dataset: Dataset) -> list[list[str]]:
    """Sessions by raw ids as text; "" for an item without a row."""
    ids = ["", *map(str, dataset.vocabulary.raw_ids.to_pylist())]
    bounds = sessions.offsets.tolist()
    clicks = sessions.clicks.tolist()
    return [[ids[item] for item in clicks[begin:end]] for begin, end in pairwise(bounds)]
