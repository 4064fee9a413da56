"""What type the ids of items have, and what becomes of those of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagnn_fast.logs import LogFormat, PrepareOptions
from tests.logs.by_hand import is_integer, prepare_by_hand
from tests.logs.running import prepared, raw

FORM = LogFormat("ids", owner="session", item="item", time="time")
# Like integers, and whether they are.
TEXTS = {
    "0": True, "-7": True, "999999999999999999": True, "9223372036854775807": True, "-9223372036854775808": True,
    "-0": False, "007": False, "+7": False, "7.0": False, " 7": False, "7 ": False, "1e3": False, "1_000": False,
    "0x1f": False, "٣": False, "-": False, "--7": False, "9223372036854775808": False, "-9223372036854775809": False,
    "9" * 30: False, "undefined": False, "NaN": False, "true": False,
}  # fmt: skip


def write_log(path: Path, others: list[str], seed: int = 0) -> Path:
    """Sessions of integers over ten days, where every text of `others` is clicked on once amid a session."""
    generator = np.random.default_rng(seed)
    rows = []
    for session in range(80):
        items = [str(item) for item in generator.integers(10, 30, 4)]
        if session < len(others):
            items.insert(2, others[session])
        rows += [f's{session},"{item}",2024-05-{1 + session // 8:02} 10:00:{n:02}' for n, item in enumerate(items)]
    generator.shuffle(rows)
    path.write_text("\n".join(["session,item,time", *rows, ""]), encoding="utf-8")
    return path


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_an_integer(text: str, tmp_path: Path) -> None:
    """By the rule, and by the pipeline: the one item is what decides."""
    assert is_integer(text) == TEXTS[text]
    log = tmp_path / "log.csv"
    log.write_text(f'session,item,time\ns,"{text}",2024-05-01\n', encoding="utf-8")
    options = PrepareOptions(minimum_support=1, minimum_length=1, test_from="2025-01-01")
    dataset = prepared(str(log), FORM, options)
    assert dataset.vocabulary.raw_ids.to_pylist() == [int(text) if TEXTS[text] else text]
    assert dataset.source["item_ids"] == ("integer" if TEXTS[text] else "string")


def test_new_items_that_are_to_stay(tmp_path: Path) -> None:
    """Test clicks on them stay as misses, whatever their ids are."""
    figures = []
    for new in ("9000", "new-9000"):
        log = write_log(tmp_path / "log.csv", [])
        log.write_text(log.read_text().replace(',"11",2024-05-10', f',"{new}",2024-05-10'))
        kept = prepared(str(log), FORM, PrepareOptions(cold_items="keep"))
        figures.append(kept.statistics())
        assert kept.source["item_ids"] == ("integer" if new == "9000" else "string")
        assert kept.source["bad_rows"] == {}
    assert figures[0] == figures[1]
    assert figures[0]["test"]["clicks_without_a_row"] > 0


@pytest.mark.parametrize(
    "options", [{}, {"item_ids": "integer"}, {"item_ids": "string"}, {"minimum_support": 1}, {"maximum_length": 2}]
)
def test_equals_the_rules_by_hand(options: dict[str, Any], tmp_path: Path) -> None:
    """Junk that does not stay leaves nothing behind: neither its type nor its place in a session."""
    others = [text for text, integer in TEXTS.items() if not integer]
    log = write_log(tmp_path / "log.csv", others)
    chosen = PrepareOptions(**options)
    dataset = prepared(str(log), FORM, chosen)
    expected = prepare_by_hand([log], FORM, chosen)
    integers = options.get("item_ids") != "string" and "minimum_support" not in options
    assert dataset.vocabulary.integers == integers
    assert dataset.source["item_ids"] == ("integer" if integers else "string")
    assert raw(dataset.train, dataset) == expected.train
    assert raw(dataset.test, dataset) == expected.test
    assert [[str(item) for item in session] for session in dataset.raw_test.to_pylist()] == expected.raw_test
    assert dataset.raw_test.type.value_type == dataset.vocabulary.raw_ids.type
    found = dataset.source["bad_rows"].get("item is no integer", {"count": 0, "some": []})
    assert found["count"] == expected.bad["item is no integer"] == (len(others) if integers else 0)
    assert set(found["some"]) <= set(others)
    assert len(found["some"]) == (10 if integers else 0)


def test_strings_are_said_to_be(tmp_path: Path) -> None:
    """With what made them so, where most are integers."""
    dataset = prepared(str(write_log(tmp_path / "log.csv", ["n/a"])), FORM, PrepareOptions(minimum_support=1))
    assert dataset.source["ids_that_are_no_integers"] == {"count": 1, "of": len(dataset.vocabulary), "some": ["n/a"]}


def test_other_ids_are_bad_rows(tmp_path: Path) -> None:
    """Where it was said that there are none; the rule's own decision is no error."""
    log = str(write_log(tmp_path / "log.csv", ["n/a", "007"]))
    with pytest.raises(ValueError, match=r"at most 1 bad rows .*, got 2: 2 × item is no integer; such as '"):
        prepared(log, FORM, PrepareOptions(item_ids="integer"), bad=1)
    assert prepared(log, FORM, PrepareOptions(item_ids="integer"), bad=2).fingerprint() == (
        prepared(log, FORM, PrepareOptions(), bad=0).fingerprint()
    )
    with pytest.raises(ValueError, match="max_bad_rows: expected 0 or more, got -1"):
        prepared(log, FORM, PrepareOptions(), bad=-1)
