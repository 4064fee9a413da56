"""One kind of answer: items, scores, status, and the rows of a table."""

from __future__ import annotations

import sys

import pytest

from tagnn_fast.recommendations import Recommendations
from tests.small_recommender import make, table_of


def test_unpacks() -> None:
    answer = make().recommend([[103, 999], [103], []], 2)
    items, scores, status = answer
    assert (items, scores, status) == (answer.items, answer.scores, answer.status)
    assert [len(line) for line in items] == [len(line) for line in scores] == [2, 2, 2]
    assert (status, answer.skipped) == ([1, 0, 2], [1, 0, 0])
    assert scores[2] == [7.0, 7.0]
    assert answer == make().recommend([[103, 999], [103], []], 2)
    assert answer != make().recommend([[104, 999], [103], []], 2)


@pytest.mark.parametrize("strings", [False, True])
def test_table_without_rows(strings: bool) -> None:
    """Of the same columns and types as any other, also where there are sessions."""
    recommender = make(strings=strings)
    assert Recommendations([[], []], [[], []], [0, 2], [0, 0], not strings).to_table().equals(table_of(recommender, []))
    assert table_of(recommender, []).schema == table_of(recommender, [[]]).schema


def test_pandas() -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    frame = make().recommend([[103], []], 2).to_pandas()
    assert list(frame.columns) == ["session", "rank", "item", "score", "answer", "skipped"]
    assert frame["session"].tolist() == [0, 0, 1, 1]
    assert frame["answer"].tolist() == ["model", "model", "popularity", "popularity"]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="^to_pandas: expected pandas, got none: pip install pandas$"):
        make().recommend([[103]]).to_pandas()
