"""A log with everything that goes wrong in logs, from a seed."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

COLUMNS = ("user", "item", "time", "event")
LETTERS = ("é", "日本", "ß-7", "naïve", 'a "quoted" one', "comma, inside", " space ", "0012", "ключ", "🛒")


def write_messy_log(folder: Path, rows: int, seed: int = 0, files: int = 3) -> str:
    """Files of clicks by users, as a pattern.

    Ties in time, sessions across midnight, duplicated rows, late rows, text ids in many scripts, missing values, times
    that cannot be read, rows with a column too many or too few. The last file is compressed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    users = max(2, rows // 40)
    items = max(3, min(5000, rows // 30))
    user = generator.integers(0, users, rows)
    item = np.minimum(generator.zipf(1.3, rows) - 1, items - 1)
    # Bursts of clicks a few seconds apart, whole seconds, so that many are at the same time; some in the last hour.
    burst = generator.integers(0, 20 * 86400, users * 8)
    seconds = burst[user * 8 + generator.integers(0, 8, rows)] + generator.integers(0, 600, rows)
    order = seconds.argsort(kind="stable")
    late = generator.random(rows) < 0.02
    order = np.concatenate([order[~late], order[late]])
    start = datetime(2024, 2, 20, tzinfo=UTC)
    chance, form = generator.random(rows), generator.random(rows)
    lines = []
    for number, place in enumerate(order.tolist()):
        when = start + timedelta(seconds=int(seconds[place]))
        text = f"{when:%Y-%m-%d %H:%M:%S}" if form[number] < 0.5 else f"{when:%Y-%m-%dT%H:%M:%S}.250Z"
        name = f"{LETTERS[item[place] % len(LETTERS)]}{item[place]}"
        fields = [f"u{user[place]}", name, text, "view" if chance[number] > 0.1 else "cart"]
        lines.append(damaged(fields, chance[number]))
        if 0.5 < chance[number] < 0.51:
            lines.append(lines[-1])
    per_file = -(-len(lines) // files)
    for number in range(files):
        content = "\n".join([",".join(COLUMNS), *lines[number * per_file : (number + 1) * per_file], ""]).encode()
        if number == files - 1:
            (folder / f"part-{number}.csv.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / f"part-{number}.csv").write_bytes(content)
    return str(folder / "part-*")


def damaged(fields: list[str], chance: float) -> str:
    """A row of the file, seldom one that cannot be used."""
    user, item, time, event = (
        f'"{field.replace(chr(34), chr(34) * 2)}"' if "," in field or '"' in field else field for field in fields
    )
    if chance > 0.999:
        return f"{user},{item},{time}"
    if chance > 0.998:
        return f"{user},{item},{time},{event},more"
    if chance > 0.997:
        return f"{user},,{time},{event}"
    if chance > 0.996:
        return f",{item},{time},{event}"
    if chance > 0.994:
        wrong = ("", "yesterday", "2024-13-01 00:00:00", "2024-02-30", "12:00:00", "2024", "2024-02-25 24:61:00")
        return f"{user},{item},{wrong[int(chance * 1e7) % len(wrong)]},{event}"
    return f"{user},{item},{time},{event}"
