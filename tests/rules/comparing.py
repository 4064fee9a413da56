"""What the command makes of an example, against the rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagnn_fast.data import Dataset, Sessions, read_dataset
from tests.cli.commands import run
from tests.logs.running import raw
from tests.rules.examples import Example
from tests.rules.log import Refused
from tests.rules.prepared import AFTER, BEFORE, Prepared, prepare

# What an error must say, of each kind.
MESSAGES = {
    "options": r"(maximum_length|max_session_clicks|until_time|test_from|test|gap): expected|expected --\w+",
    "bad rows": r"expected at most [\d,]+ bad rows \(--max-bad-rows\), got [\d,]+: ",
    "quote": r"expected quoted values to end in their line, got one in line \d+ that does not",
    "columns": r"expected one column|expected the columns of|in its first line; see --encoding",
    "event": r"events: expected kinds that occur, got ",
    "no clicks": r"expected clicks, got none that can be used",
    "--minimum-length": r"clicks or more, got none; see --minimum-length",
    "--minimum-support": r"got none that leave one; see --minimum-support",
    "--test": r"expected training sessions before the split, got none; see --test and --test-from",
    "--fraction": r"got none; see --fraction",
    "titles": r"titles: expected ids of items",
}
WARNINGS = {"split": r"the test set has .*: see --test", "merged": r"if session ids are unique only with the user's"}


def expected(example: Example) -> Prepared | str:
    """By the rules: a data set, or the kind of error."""
    try:
        prepared = prepare(example.paths, example.log, example.rules)
    except Refused as error:
        return str(error)
    if example.titles is not None and not set(example.titles) & set(prepared.counts):
        return "titles"
    return prepared


def check_prepare(example: Example, output: Path, *more: object) -> Dataset | None:
    """Hold the command against the rules; what it made, or None where it had to refuse.

    Raises:
        AssertionError: on any difference.
    """
    wanted = expected(example)
    outcome = run("prepare", "logs", *files_of(example), output, *example.options, *more)
    if isinstance(wanted, str):
        assert outcome.returncode == 1, f"expected an error: {wanted}"
        assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
        assert re.search(MESSAGES[wanted], outcome.stderr), f"expected {wanted}, got {outcome.stderr}"
        assert not output.exists()
        return None
    assert outcome.returncode == 0, outcome.stderr
    dataset = read_dataset(output)
    differences = differ(dataset, wanted, example)
    assert not differences, "\n".join(differences)
    return dataset


def files_of(example: Example) -> list[str]:
    """The files by name, by a pattern, or by the folder."""
    paths = [str(path) for path in example.paths]
    folder = str(example.paths[0].parent)
    return [paths, [f"{folder}/part-*"], [folder]][example.seed % (3 if example.titles is None else 2)]


def differ(dataset: Dataset, wanted: Prepared, example: Example) -> list[str]:
    assert dataset.raw_test is not None
    ids = dataset.vocabulary.raw_ids.to_pylist()
    bad_rows = {reason: rows for reason, rows in dataset.source["bad_rows"].items() if reason not in (BEFORE, AFTER)}
    warnings = dataset.source.get("warnings", [])
    found: dict[str, Any] = {
        "type": dataset.source["item_ids"],
        "items": dict(zip(map(str, ids), dataset.vocabulary.counts.tolist(), strict=True)),
        "order of items": [str(name) for name in ids],
        "train": raw(dataset.train, dataset),
        "test": raw(dataset.test, dataset),
        "times of training sessions": times_of(dataset.train),
        "times of test sessions": times_of(dataset.test),
        "raw_test": [[str(item) for item in items] for items in dataset.raw_test.to_pylist()],
        "examples": dataset.train.examples.tolist(),
        "bad rows": {reason: rows["count"] for reason, rows in dataset.source["bad_rows"].items()},
        "samples": all(len(rows["some"]) == min(rows["count"], 10) for rows in bad_rows.values()),
        "steps": [(s["step"], s["clicks"], s["sessions"], s["items"]) for s in dataset.source["steps"]],
        "cut": [(s["sessions_cut"], s["clicks_cut"]) for s in dataset.source["steps"] if "clicks_cut" in s],
        "warnings": {kind for kind, words in WARNINGS.items() if any(re.search(words, line) for line in warnings)},
        "split": dataset.source["test_from_microseconds"],
        "times": (dataset.source["times"]["first"], dataset.source["times"]["last"]),
        "files": len(dataset.source["files"]),
        "titles": titles_of(dataset),
    }
    right: dict[str, Any] = {
        "type": "integer" if wanted.integers else "string",
        "items": wanted.counts,
        "order of items": list(wanted.counts),
        "train": wanted.train,
        "test": wanted.test,
        "times of training sessions": wanted.train_times,
        "times of test sessions": wanted.test_times,
        "raw_test": wanted.raw_test,
        "examples": [len(items) - 1 for items in wanted.train],
        "bad rows": dict(wanted.bad),
        "samples": True,
        "steps": wanted.steps,
        "cut": [wanted.cut] if wanted.cut is not None else [],
        "warnings": wanted.warnings,
        "split": wanted.split,
        "times": wanted.times,
        "files": len(example.paths),
        "titles": {name: title for name, title in (example.titles or {}).items() if name in wanted.counts},
    }
    if (str(dataset.vocabulary.raw_ids.type) == "int64") != wanted.integers:
        return [f"vocabulary: {dataset.vocabulary.raw_ids.type}"]
    if dataset.raw_test.type.value_type != dataset.vocabulary.raw_ids.type:
        return [f"raw_test: {dataset.raw_test.type}"]
    return [difference(name, found[name], right[name]) for name in right if found[name] != right[name]]


def times_of(sessions: Sessions) -> list[int]:
    return sessions.times.tolist() if sessions.times is not None else []


def titles_of(dataset: Dataset) -> dict[str, str]:
    titles = dataset.vocabulary.titles
    named = zip(dataset.vocabulary.raw_ids.to_pylist(), titles.to_pylist(), strict=True) if titles is not None else ()
    return {str(name): title for name, title in named if title is not None}


def difference(name: str, found: Any, right: Any) -> str:
    if isinstance(found, list) and isinstance(right, list):
        pairs: Sequence[Any] = [(f, r) for f, r in zip(found, right, strict=False) if f != r]
        return f"{name}: {len(found)} for {len(right)}; {pairs[:5]}"
    return f"{name}: found {found!r}\n  expected {right!r}"
