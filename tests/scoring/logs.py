"""A night's log of users and their sessions, and which sessions it comes to, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

START = 1_700_000_000
GAP = 1800
COLUMNS = ("--item-column", "item", "--time-column", "time", "--time-unit", "seconds")
USERS = ("--user-column", "user", *COLUMNS)
SESSIONS = ("--session-column", "session", *COLUMNS)

Click = tuple[str, str, str, int]  # user, session, item, time
Named = list[tuple[str, list[str]]]


def write_log(path: Path, clicks: int = 900) -> list[Click]:
    """Clicks in no order, of users who pause and come back, on items known and unknown, with repeats."""
    random = Random(1)
    made: list[Click] = []
    for number in range(clicks):
        user, time = random.randrange(60), START + random.randrange(6 * 3600)
        item = 900 + random.randrange(8) if number % 50 == 0 else 1000 + random.randrange(9) * 10
        made.append((f"u{user}", f"{user % 7}{time // 7200 % 3}", str(item), time))
    lines = [",".join(map(str, click)) for click in made]
    path.write_text("user,session,item,time\n" + "\n".join(lines) + "\n")
    return made


def sessions_by_hand(clicks: list[Click], name: Callable[[Click], str], gap: int | None = None) -> Named:
    """Names and items of the sessions, in the order of their last clicks, then of their first rows."""
    rows: dict[str, list[int]] = {}
    for row, click in enumerate(clicks):
        rows.setdefault(name(click), []).append(row)
    cut: list[tuple[str, list[int]]] = []
    for owner, own in rows.items():
        own.sort(key=lambda row: (clicks[row][3], row))
        for row, before in zip(own, [None, *own], strict=False):
            if before is None or (gap is not None and clicks[row][3] - clicks[before][3] > gap):
                cut.append((owner, []))
            cut[-1][1].append(row)
    cut.sort(key=lambda session: (clicks[session[1][-1]][3], min(session[1])))
    return [(owner, [clicks[row][2] for row in own]) for owner, own in cut]
