"""Search of a catalogue by title or id: ``python -m benchmarks.jobs.item_search [ITEMS]``, one million if not given."""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import pyarrow as pa

from tagnn_fast.data import Vocabulary
from tagnn_fast.serving.http.item_search import ItemSearch

WORDS, WORDS_IN_A_TITLE, REPEATS = 300_000, 4, 15


def catalogue(items: int) -> Vocabulary:
    """Items with titles of words by a skewed law, clicks by Zipf's."""
    generator = np.random.default_rng(0)
    words = [f"w{number:x}" for number in generator.integers(0, 2**32, WORDS).tolist()]
    chosen = (WORDS * generator.random((items, WORDS_IN_A_TITLE)) ** 3).astype(int).tolist()
    titles = pa.array([" ".join(words[word] for word in title).title() for title in chosen])
    raw_ids = pa.array(generator.permutation(10 * items)[:items])
    return Vocabulary(raw_ids, generator.zipf(1.3, items).clip(max=10**9), titles)


def main(items: int) -> None:
    """Print CPU milliseconds of each kind of text, best and median."""
    vocabulary = catalogue(items)
    began = time.thread_time()
    search = ItemSearch(vocabulary)
    print(f"made in {time.thread_time() - began:.1f} s")
    title = vocabulary.titles[items // 2].as_py().split()
    texts = {
        "nothing": "",
        "begins ids": "12",
        "begins titles": "wa",
        "a whole title": " ".join(title),
        "a word": title[2],
        "inside a word": title[2][2:6],
        "inside two words": f"{title[3][1:4]} {title[1][:3]}",
        "is nowhere": "zzzz",
    }
    for name, text in texts.items():
        seconds = []
        for _ in range(REPEATS):
            began = time.thread_time()
            search.find(text, 20)
            seconds.append(time.thread_time() - began)
        print(f"{name:18} {1000 * min(seconds):6.2f} {1000 * statistics.median(seconds):6.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
