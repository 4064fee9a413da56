"""Files of sessions and of what is recommended to them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tagnn_fast.runs.run import open_run

COLUMNS = ["session", "rank", "item", "score", "answer", "skipped", "error"]
UNKNOWN = 7  # an id that no item has


def rows(printed: str) -> list[list[str]]:
    """The rows of the printed table."""
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def titles(run: Path) -> dict[object, str]:
    """Title of each item of a run, by raw id."""
    items = pq.read_table(run / "items.parquet")
    return dict(zip(items["raw_id"].to_pylist(), items["title"].to_pylist(), strict=True))


def write_sessions(path: Path, sessions: Sequence[Sequence[object]], names: Sequence[object] | None = None) -> Path:
    lines: list[str] = []
    if path.suffix == ".parquet":
        lists = pa.array(sessions) if sessions else pa.array([], pa.list_(pa.int64()))
        pq.write_table(pa.table({**({} if names is None else {"session": pa.array(names)}), "items": lists}), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            cells = [[" ".join(map(str, session))] for session in sessions]
            named = cells if names is None else [[name, *cell] for name, cell in zip(names, cells, strict=True)]
            csv.writer(file).writerows([["items"] if names is None else ["session", "items"], *named])
    else:
        for place, session in enumerate(sessions):
            lines.append(json.dumps(list(session) if names is None else {"session": names[place], "items": session}))
        path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read_table(path: Path) -> pa.Table:
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return pa.Table.from_pylist(rows) if rows else pa.table({name: [] for name in COLUMNS})
    if path.suffix == ".parquet":
        return pq.read_table(path)
    options = pyarrow.csv.ConvertOptions(
        column_types={"session": pa.string(), "error": pa.string()},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pyarrow.csv.read_csv(path, convert_options=options)


def answers(path: Path) -> dict[object, list[tuple[object, ...]]]:
    """Rank, item, answer and skipped of each name's rows; errors alone where there is one."""
    found: dict[object, list[tuple[object, ...]]] = {}
    for row in read_table(path).to_pylist():
        values = tuple(row[name] for name in ("rank", "item", "answer", "skipped"))
        if row["answer"] == "error":
            assert (*values, row["score"]) == (None, None, "error", None, None)
            values = (row["error"],)
        else:
            assert row["error"] is None
        found.setdefault(row["session"], []).append(values)
    return found


def recommended(run: Path, session: Sequence[object], k: int) -> list[tuple[object, ...]]:
    """What the recommender says to a session alone."""
    rows = open_run(run).recommender().recommend([session], k).to_table().to_pylist()
    return [tuple(row[name] for name in ("rank", "item", "answer", "skipped")) for row in rows]
