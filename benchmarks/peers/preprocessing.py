"""The published way of preprocessing a Yoochoose log, written anew: a row at a time, in dictionaries and lists."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path

Example = tuple[list[int], int]


def published_preprocessing(path: Path, test_seconds: int = 86400) -> tuple[list[Example], list[Example]]:
    """Training and test examples, by the rules of ``--preset published``."""
    clicks: dict[str, list[str]] = {}
    dates: dict[str, float] = {}
    with path.open(newline="") as file:
        for session, moment, item, _ in csv.reader(file):
            clicks.setdefault(session, []).append(item)
            dates[session] = time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))
    for session in [session for session, items in clicks.items() if len(items) == 1]:
        del clicks[session], dates[session]
    support = Counter(item for items in clicks.values() for item in items)
    for session, items in list(clicks.items()):
        kept = [item for item in items if support[item] >= 5]
        if len(kept) < 2:
            del clicks[session], dates[session]
        else:
            clicks[session] = kept
    split = max(dates.values()) - test_seconds
    by_date = sorted(dates, key=lambda session: dates[session])
    number: dict[str, int] = {}
    train = []
    for session in by_date:
        if dates[session] < split:
            train.append([number.setdefault(item, len(number) + 1) for item in clicks[session]])
    test = [[number[item] for item in clicks[s] if item in number] for s in by_date if dates[s] > split]
    return prefixes(train), prefixes([session for session in test if len(session) > 1])


def prefixes(sessions: list[list[int]]) -> list[Example]:
    """Every session's examples, longest first."""
    return [(session[:end], session[end]) for session in sessions for end in range(len(session) - 1, 0, -1)]
