"""Click data from a seed, for the demo, the tests and the benchmarks: learnable, skewed and repetitive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.synthetic_titles import synthetic_title
from tagnn_fast.data.vocabulary import Vocabulary

_REPEAT, _STEP = 0.2, 0.6  # chances of going back to an item of the session, of a step along the category
_MEAN_EXTRA_CLICKS = 3.0  # beyond the two that every session has


def synthetic_dataset(clicks: int = 100_000, items: int = 1_000, seed: int = 0, test_share: float = 0.1) -> Dataset:
    """Sessions that walk through categories.

    Items belong to categories (about √items of them) and are popular by Zipf's law, among the categories and inside
    each. A session begins at a popular item; each further click goes back to an item of the session, or a few places
    along its category, or to a popular item of any category. Titles tell the categories apart.

    Args:
        clicks: of all sessions together.
        items: size of the catalogue; those that no training session clicks on get no row.
        seed: the same seed gives the same data.
        test_share: share of the sessions, the last ones, that are the test set.

    Raises:
        ValueError: on fewer than 2 clicks or 1 item, a negative seed, or a share outside [0, 1).
    """
    for name, value, lowest in (("clicks", clicks, 2), ("items", items, 1), ("seed", seed, 0)):
        if value < lowest:
            raise ValueError(f"{name}: expected {lowest} or more, got {value}")
    if not 0 <= test_share < 1:
        raise ValueError(f"test_share: expected a share in [0, 1), got {test_share}")
    generator = np.random.default_rng(seed)
    lengths = _session_lengths(clicks, generator)
    width = max(1, round(items**0.5))  # items of a category; the last category may have fewer
    walks = _walks(lengths, items, width, generator)
    raw_ids = generator.permutation(items) + 10_001  # ids say nothing about categories or popularity

    held_out = min(len(lengths) - 1, round(test_share * len(lengths)))
    first_test = len(lengths) - held_out
    split = int(lengths[:first_test].sum())
    ids, counts = np.unique(raw_ids[walks[:split]], return_counts=True)
    vocabulary = Vocabulary(pa.array(ids), counts)
    encoded = torch.from_numpy(vocabulary.encode(raw_ids[walks]))
    offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
    titles = {str(raw_id): synthetic_title(item, width) for item, raw_id in enumerate(raw_ids.tolist())}
    dataset = Dataset(
        name=f"synthetic-{clicks}-{items}-{seed}",
        train=Sessions.whole(encoded[:split], offsets[: first_test + 1]),
        test=Sessions.whole(encoded[split:], offsets[first_test:] - split),
        vocabulary=vocabulary,
        source={"kind": "synthetic", "clicks": clicks, "items": items, "seed": seed, "test_share": test_share},
    )
    return dataset.with_titles(titles)


def _session_lengths(clicks: int, generator: np.random.Generator) -> np.ndarray:
    """Clicks of each session, at least 2, that add up to `clicks`."""
    lengths = 1 + generator.geometric(1 / (1 + _MEAN_EXTRA_CLICKS), clicks // 2)
    sessions = int(np.searchsorted(lengths.cumsum(), clicks)) + 1
    lengths = lengths[:sessions]
    lengths[-1] -= lengths.sum() - clicks
    if lengths[-1] < 2 and sessions > 1:
        lengths[-2] += lengths[-1]
        lengths = lengths[:-1]
    return lengths.astype(np.int64)


def _walks(lengths: np.ndarray, items: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Item numbers 0..items - 1 of all clicks, session after session; the t-th clicks of all sessions at once."""
    first = lengths.cumsum() - lengths
    walks = np.empty(int(lengths.sum()), np.int64)
    walks[first] = _popular_items(len(lengths), items, width, generator)
    for step in range(1, int(lengths.max())):
        place = first[lengths > step] + step
        last = walks[place - 1]
        earlier = walks[place - generator.integers(1, step + 1, len(place))]
        begin = last - last % width
        along = begin + (last - begin + generator.geometric(0.5, len(place))) % np.minimum(width, items - begin)
        elsewhere = _popular_items(len(place), items, width, generator)
        chance = generator.random(len(place))
        walks[place] = np.where(chance < _REPEAT, earlier, np.where(chance < _REPEAT + _STEP, along, elsewhere))
    return walks


def _popular_items(count: int, items: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Items drawn by Zipf's law: a category, then a place in it."""
    category = _zipf(count, -(-items // width), generator)
    within = _zipf(count, width, generator)
    return np.asarray(np.minimum(category * width + within, items - 1))


def _zipf(count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Numbers 0..size - 1, n about as often as 1 / (n + 1)."""
    cumulative = (1 / np.arange(1, size + 1)).cumsum()
    drawn = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right")
    return np.asarray(np.minimum(drawn, size - 1))
