"""Items by id or title, held against every item looked at in turn."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagnn_fast.data import Vocabulary, synthetic_dataset
from tagnn_fast.serving.http.item_search import ItemSearch


def vocabulary(
    ids: Sequence[object], titles: Sequence[str | None] | None = None, counts: Sequence[int] = ()
) -> Vocabulary:
    named = None if titles is None else pa.array(titles, pa.string())
    return Vocabulary(pa.array(ids), np.array(counts or range(len(ids), 0, -1)), named)


def plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold()).casefold()
    return "".join(letter for letter in decomposed if not "\u0300" <= letter <= "\u036f").replace("\n", " ")


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def looked_up(items: Vocabulary, text: str, limit: int) -> list[int]:
    """The definition: a class for each item, then clicks, then rows."""
    raw_ids = [str(raw_id) for raw_id in items.raw_ids.to_pylist()]
    titles = (
        [plain(title or "") for title in items.titles.to_pylist()] if items.titles is not None else [""] * len(items)
    )
    text = text.strip()
    wanted = plain(text)
    words = words_of(wanted)

    def kind(row: int) -> int:
        raw_id, title = plain(raw_ids[row]), titles[row]
        own = words_of(title)
        if not text:
            return 0
        if raw_id == wanted:
            return 0 if raw_ids[row] == text else 1
        if raw_id.startswith(wanted) or title.startswith(wanted):
            return 2
        if words and all(any(word.startswith(part) for word in own) for part in words):
            return 3
        inside = words and all(any(part in word for word in own) for part in words)
        return 4 if inside or wanted in raw_id else 5

    rows = sorted(range(len(items)), key=lambda row: (kind(row), -items.counts[row], row))
    return [row + 1 for row in rows if kind(row) < 5][:limit]


LETTERS = st.text(st.sampled_from("aAbéß -_1ﬁ.\n"), max_size=5)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.tuples(LETTERS.filter(bool), st.one_of(st.none(), LETTERS)),
        min_size=1,
        max_size=12,
        unique_by=lambda item: item[0],
    ),
    st.lists(st.integers(0, 3), min_size=12, max_size=12),
    LETTERS,
    st.integers(1, 4),
)
@example([("ab", "ba"), ("b", None)], [1] * 12, "bb", 3)
@example([("ab", "ba"), ("b", None)], [1] * 12, "\u0301", 3)
def test_any_texts(items: list[tuple[str, str | None]], counts: list[int], text: str, limit: int) -> None:
    """What stands at the end of one id and the beginning of the next is in neither."""
    made = vocabulary([raw_id for raw_id, _ in items], [title for _, title in items], counts[: len(items)])
    assert ItemSearch(made).find(text, limit) == looked_up(made, text, limit)


@pytest.mark.parametrize(
    "text", ["", "blue", "shoes", "shoes blue", "Blue running shoes", "100", "10101", "oes", "-", "zzz", "bl su"]
)
def test_synthetic_items(text: str) -> None:
    items = synthetic_dataset(20_000, 1_000).vocabulary
    assert ItemSearch(items).find(text, 20) == looked_up(items, text, 20)


def test_what_comes_first() -> None:
    titles = ["Red 7", "Shoe polish", "A red shoe", "Horseshoe", None, "SHOES", "Café crème"]
    search = ItemSearch(vocabulary([70, 12, 13, 14, 7, 16, 17], titles))
    assert search.find("7", 9) == [5, 1, 7]  # the id; one that begins with it, or a title's word; one that contains it
    assert search.find("shoe", 9) == [2, 6, 3, 4]
    assert search.find("  ShoE\n", 1) == [2]
    assert search.find("shoe red", 9) == [3]
    assert search.find("CAFE", 9) == search.find("crème", 9) == search.find("Creme", 9) == [7]
    assert search.find("", 3) == [1, 2, 3]
    assert search.find("nothing like it", 3) == []


def test_ids_that_differ_in_case_and_accents() -> None:
    search = ItemSearch(vocabulary(["abc", "ABC", "Äbc", "abcd"]))
    assert search.find("ABC", 9) == [2, 1, 3, 4]
    assert search.find("äBC", 2) == [1, 2]


def test_no_items() -> None:
    empty = Vocabulary(pa.array([], pa.int64()), np.array([]), pa.array([], pa.string()))
    assert ItemSearch(empty).find("a", 3) == ItemSearch(empty).find("", 3) == []
