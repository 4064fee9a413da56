"""Items by what people type: an id, or words of a title."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tagnn_fast.data.vocabulary import Vocabulary

# Marks over letters of several alphabets; those that tell letters apart, as in Thai, are none of them.
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_CHUNK = 4096  # texts folded in one go: other threads of Python wait so long


class ItemSearch:
    """Finds items of a vocabulary. A search changes nothing, so threads may share it.

    Letters count as the same whatever their case and accents. First comes the item whose id is the text; then those
    whose id or title begins with it; whose title has, for each word of the text, a word that begins with it; whose
    title has these inside its words, or whose id has the text inside it. Among equals, the more clicked comes first.

    Beside the vocabulary it takes 16 bytes an item, 4 for each word of a title, and the ids and distinct words as text:
    60 MB for a million items with four words each; twice that while it is made.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._items = vocabulary.by_popularity().astype(np.int32)  # item index by place: 0 is the most clicked
        rows = pa.array(self._items - 1)
        ids = vocabulary.raw_ids.take(rows).cast(pa.string())
        self._ids = _Texts(ids if vocabulary.integers else _folded(ids))
        self._ids_in_order = _Order(self._ids.texts, self._ids.text)
        self._titles_in_order = self._words = None
        if vocabulary.titles is not None:
            titles = _folded(vocabulary.titles.take(rows))
            self._titles_in_order, self._words = _Order(titles, self._title), _Words(titles)

    def find(self, text: str, limit: int) -> list[int]:
        """Item indices, at most `limit`; of the most clicked items for a text of spaces alone."""
        text = text.strip()
        if not text:
            return self._items[:limit].tolist()  # type: ignore[no-any-return]
        folded, found = _fold(text), self._items[self._named(text)].tolist()
        for places in self._places(folded, limit + len(found)):
            best = self._items[np.flatnonzero(places)[: limit + len(found)]].tolist()
            found += [item for item in best if item not in found]
            if len(found) >= limit:
                break
        return found[:limit]  # type: ignore[no-any-return]

    def item(self, raw_id: str) -> int:
        """Index of the item whose id, as text, is exactly this; 0 where there is none."""
        return next((int(self._items[place]) for place in self._named(raw_id) if self._raw_id(place) == raw_id), 0)

    def _named(self, text: str) -> list[int]:
        """Places whose id is the text; first the one that is it in case and accents too."""
        places = self._ids_in_order.equal(_fold(text)).tolist()
        return sorted(places, key=lambda place: (self._raw_id(place) != text, place))

    def _places(self, folded: str, most: int) -> Iterator[np.ndarray]:
        """Which places match, bool (items,), in one way after the other; of ids with it inside, enough for `most`."""
        beginning = np.zeros(len(self._items), bool)
        beginning[self._ids_in_order.beginning(folded)] = True
        if self._titles_in_order is not None:
            beginning[self._titles_in_order.beginning(folded)] = True
        yield beginning
        inside = np.zeros(len(self._items), bool)
        words = _split(pa.array([folded]))[0].as_py()
        if self._words is not None and words:
            yield self._words.all_of(words, self._words.beginning, len(self._items))
            inside = self._words.all_of(words, self._words.containing, len(self._items))
        inside[self._ids.first_containing(folded, 2 * most)] = True  # up to `most` of them are found by then
        yield inside

    def _raw_id(self, place: int) -> str:
        return str(self._vocabulary.raw_ids[int(self._items[place]) - 1].as_py())

    def _title(self, place: int) -> str:
        titles: Any = self._vocabulary.titles
        return _fold(titles[int(self._items[place]) - 1].as_py() or "")


class _Order:
    """Places in the order of their texts.

    Args:
        texts: by place, folded; they are not kept.
        text_of: the same for one place.
    """

    def __init__(self, texts: pa.Array, text_of: Callable[[int], str]) -> None:
        self._places = pc.sort_indices(texts).to_numpy().astype(np.int32)
        self._text_of = text_of

    def equal(self, text: str) -> np.ndarray:
        """Places with this text, int32 (found,)."""
        low = bisect_left(self._places, text, key=self._text_of)
        return np.asarray(self._places[low : bisect_right(self._places, text, low, key=self._text_of)])

    def beginning(self, text: str) -> np.ndarray:
        """Places whose text begins so, int32 (found,)."""
        low = bisect_left(self._places, text, key=self._text_of)
        high = bisect_right(self._places, text, low, key=lambda place: self._text_of(place)[: len(text)])
        return np.asarray(self._places[low:high])


class _Texts:
    """Texts, one after the other in memory, to look into.

    Args:
        texts: by place, a string each, not cut out of a longer array.
    """

    def __init__(self, texts: pa.Array) -> None:
        self.texts = texts
        _, ends, values = texts.buffers()
        self._ends = np.frombuffer(ends, np.int32, len(texts) + 1)
        self._bytes = b"" if values is None else values.to_pybytes()

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, place: int) -> str:
        """The text at a place."""
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode()

    def first_containing(self, text: str, most: int) -> list[int]:
        """The first places, at most `most`, whose text has this in it."""
        if not text:  # of accents alone, perhaps; it is found behind the last text, too
            return list(range(min(most, len(self))))
        found: list[int] = []
        wanted = text.encode()
        begin = self._bytes.find(wanted)
        while begin >= 0 and len(found) < most:
            place = int(self._place(np.int32(begin)))
            end = int(self._ends[place + 1])
            if begin + len(wanted) <= end:
                found.append(place)
                begin = end
            else:
                begin += 1  # it goes on in the next text
            begin = self._bytes.find(wanted, begin)
        return found

    def all_containing(self, text: str) -> np.ndarray:
        """All places whose text has this in it, rising, int64 (found,)."""
        wanted, values = text.encode(), np.frombuffer(self._bytes, np.uint8)
        count = max(0, len(values) - len(wanted) + 1)
        here = np.ones(count, bool)
        for shift, value in enumerate(wanted):
            here &= values[shift : shift + count] == value
        begins = np.flatnonzero(here).astype(np.int32)
        places = self._place(begins)
        return np.unique(places[begins + len(wanted) <= self._ends[places + 1]])

    def _place(self, begins: Any) -> Any:
        """Place of what stands at an index, int32: of another type, all ends would be converted at each call."""
        return np.searchsorted(self._ends, begins, side="right") - 1


class _Words:
    """Places of titles by the words in them."""

    def __init__(self, titles: pa.Array) -> None:
        lists = _split(titles)
        words = lists.flatten().dictionary_encode()
        order = pc.sort_indices(words.dictionary)
        self._words = _Texts(words.dictionary.take(order))
        rank = np.empty(len(order), np.int32)
        rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        ranks = rank[words.indices.to_numpy()]
        # The places of a word are beside each other, and those of words that begin alike.
        self._places = pc.list_parent_indices(lists).to_numpy().astype(np.int32)[np.argsort(ranks, kind="stable")]
        self._ends = np.concatenate([[0], np.bincount(ranks, minlength=len(order)).cumsum()])

    def all_of(self, words: list[str], places_of: Callable[[str], np.ndarray], count: int) -> np.ndarray:
        """Which of `count` places match every word, bool (count,)."""
        every = np.ones(count, bool)
        for word in words:
            one = np.zeros(count, bool)
            one[places_of(word)] = True
            every &= one
        return every

    def beginning(self, text: str) -> np.ndarray:
        """Places with a word that begins so, int32 (found,), some more than once."""
        words = range(len(self._words))
        low = bisect_left(words, text, key=self._words.text)
        high = bisect_right(words, text, low, key=lambda word: self._words.text(word)[: len(text)])
        return np.asarray(self._places[self._ends[low] : self._ends[high]])

    def containing(self, text: str) -> np.ndarray:
        """Places with a word that has this in it, int32 (found,), some more than once."""
        words = self._words.all_containing(text)
        begins, counts = self._ends[words], self._ends[words + 1] - self._ends[words]
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return np.asarray(self._places[np.repeat(begins, counts) + within])


def _fold(text: str) -> str:
    """What of a text counts: no case, accents or line breaks."""
    folded = text.casefold()
    if not folded.isascii():
        folded = _ACCENTS.sub("", unicodedata.normalize("NFKD", folded)).casefold()
    return folded.replace("\n", " ")


def _folded(texts: pa.Array) -> pa.Array:
    """The same of each text; nothing where there is none."""
    parts = [
        pa.array([_fold(text or "") for text in texts[begin : begin + _CHUNK].to_pylist()], pa.string())
        for begin in range(0, len(texts), _CHUNK)
    ]
    return pa.concat_arrays(parts) if parts else texts


def _split(texts: pa.Array) -> pa.Array:
    """Words of each text: letters and digits that stand beside each other."""
    spaced = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"[^\p{L}\p{M}\p{N}]+", " "))
    # An empty text is no word.
    return pc.split_pattern(pc.if_else(pc.equal(spaced, ""), pa.scalar(None, pa.string()), spaced), " ")
