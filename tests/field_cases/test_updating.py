"""Updates and titles that users had trouble with, held against all clicks recomputed row by row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tagnn_fast.data import Dataset, read_dataset
from tagnn_fast.logs import PrepareOptions
from tests.cli.commands import read, refused, succeed, words
from tests.logs.by_hand import ByHand, Click, split_by_hand
from tests.logs.running import raw
from tests.support import shared

OPTIONS = ("--session-column", "s", "--item-column", "i", "--time-column", "t", "--time-unit", "seconds")


def rows_of(*paths: Path) -> list[tuple[str, str, str]]:
    """Distinct rows: these logs have no click twice."""
    rows: dict[tuple[str, str, str], None] = {}
    for path in paths:
        with path.open(newline="") as file:
            rows.update(dict.fromkeys((row["s"], row["i"], row["t"]) for row in csv.DictReader(file)))
    return list(rows)


def by_hand(rows: Sequence[tuple[str, str, str]]) -> ByHand:
    clicks = [Click(session, item, int(time) * 10**6, int(time), row) for row, (session, item, time) in enumerate(rows)]
    return split_by_hand(clicks, Counter(), PrepareOptions())


def assert_equals(dataset: Dataset, expected: ByHand) -> None:
    assert raw(dataset.train, dataset) == expected.train
    assert raw(dataset.test, dataset) == expected.test
    assert [list(map(str, items)) for items in dataset.raw_test.to_pylist()] == expected.raw_test
    counts = Counter(item for items in expected.train for item in items)
    ids = map(str, dataset.vocabulary.raw_ids.to_pylist())
    assert dict(zip(ids, dataset.vocabulary.counts.tolist(), strict=True)) == counts


def test_overlap(tmp_path: Path) -> None:
    """A day that is sent again, longer: no session is in both splits, and the record says what came."""
    logs, data = shared("field_cases/update-overlap"), tmp_path / "data"
    first, day, again = (logs / f"{name}.csv" for name in ("day1-4", "day5", "day5-resent"))
    succeed("prepare", "logs", first, data, *OPTIONS)
    for log, known in ((day, [first]), (again, [first, day])):
        succeed("prepare", "update", data, log)
        before, new = rows_of(*known), rows_of(log)
        assert_equals(read_dataset(data), by_hand(rows_of(*known, log)))
        update = read(data / "dataset.json")["source"]["updates"][-1]
        added = set(new) - set(before)
        assert update["clicks"] == {"new": len(added), "repeated": len(new) - len(added)}
        old_sessions, touched = {row[0] for row in before}, {row[0] for row in added}
        assert update["sessions"] == {
            "new": len(touched - old_sessions),
            "continued": len(touched & old_sessions),
            "repeated": len({row[0] for row in new} - touched),
        }
    content = (data / "dataset.json").read_bytes()
    assert "nothing new" in succeed("prepare", "update", data, day)
    assert (data / "dataset.json").read_bytes() == content


def test_older_log(tmp_path: Path) -> None:
    """Days 1 to 4 after day 5: the test set is still day 5."""
    logs, data = shared("field_cases/update-overlap"), tmp_path / "data"
    both = (logs / "day5-resent.csv", logs / "day1-4.csv")
    succeed("prepare", "logs", both[0], data, *OPTIONS, "--test", "8h", "--minimum-support", 1)
    succeed("prepare", "update", data, both[1])
    clicks = [Click(s, i, int(t) * 10**6, int(t), row) for row, (s, i, t) in enumerate(rows_of(*both))]
    expected = split_by_hand(clicks, Counter(), PrepareOptions(test="8h", minimum_support=1))
    assert raw(read_dataset(data).train, read_dataset(data)) == expected.train
    assert raw(read_dataset(data).test, read_dataset(data)) == expected.test


def test_one_string_id(tmp_path: Path) -> None:
    """It is one bad row of the day, and the day is added without it."""
    logs, data = shared("field_cases/update-one-string-id"), tmp_path / "data"
    succeed("prepare", "logs", logs / "day1-4.csv", data, *OPTIONS)
    assert "got 1: 1 × i is no integer; such as 'N/A'" in refused("prepare", "update", data, logs / "day5.csv")
    succeed("prepare", "update", data, logs / "day5.csv", "--max-bad-rows", 100)
    rows = [row for row in rows_of(logs / "day1-4.csv", logs / "day5.csv") if row[1] != "N/A"]
    assert_equals(read_dataset(data), by_hand(rows))
    update = read(data / "dataset.json")["source"]["updates"][-1]
    assert update["bad_rows"] == {"i is no integer": {"count": 1, "some": ["N/A"]}}


def test_titles_of_old_and_new_items(tmp_path: Path) -> None:
    logs, data = shared("field_cases/update-loses-titles"), tmp_path / "data"
    succeed("prepare", "logs", logs / "day1-4.csv", data, *OPTIONS, "--titles", logs / "titles.csv")
    items = len(read_dataset(data).vocabulary)
    succeed("prepare", "update", data, logs / "day5.csv")
    vocabulary = read_dataset(data).vocabulary
    assert len(vocabulary) >= items
    assert vocabulary.titles.to_pylist() == [f"Item number {item}" for item in vocabulary.raw_ids.to_pylist()]
    few = tmp_path / "few.csv"
    few.write_text("id,title\n7,Seven\n")
    printed = words(succeed("prepare", "update", data, logs / "day5.csv", "--titles", few))
    assert f"titles: 1 of 1 are of items; 0 of {len(vocabulary)} items have none" in printed
    assert [read_dataset(data).vocabulary.title(item) for item in (6, 7)] == ["Item number 6", "Seven"]


def test_stray_quote_in_titles(tmp_path: Path) -> None:
    """It is a character of its title, and every other row keeps its own."""
    titles = shared("field_cases/titles-quote/titles.tsv")
    log = shared("field_cases/max-bad-rows-minus-one/yoo.dat")
    succeed("prepare", "logs", log, tmp_path / "data", "--format", "yoochoose", "--titles", titles)
    rows = dict(line.split("\t") for line in titles.read_text().splitlines()[1:])
    assert len(rows) == 9
    dataset = read_dataset(tmp_path / "data")
    for raw_id, title in zip(
        dataset.vocabulary.raw_ids.to_pylist(), dataset.vocabulary.titles.to_pylist(), strict=True
    ):
        assert title == rows.get(str(raw_id))
