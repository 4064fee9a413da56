"""Files with something changed in them: values and types of JSON, or bytes of anything."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import forget_digests

# Each test takes so long where it is set; the seed is the clock's then.
SECONDS = float(os.environ.get("TAGNN_FAST_FUZZ_SECONDS", 0))
CHANGES = 140

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 1.5, -0.5, 2**31, 2**63, -(2**63), 10**30, 1e308, float("nan"), float("inf"),
    "", "x", "1", "\ud800", "\x00", "../../x", "a" * 1000, [], [1], [[]], [None], {}, {"a": 1}, [{}] * 3,
]  # fmt: skip


def mutate_json(content: bytes, generator: random.Random) -> bytes:
    """One to three values changed, added, removed, doubled or swapped, anywhere in it."""
    value = json.loads(content)
    for _ in range(generator.randint(1, 3)):
        holder, key = _anywhere(value, generator)
        what = generator.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder.append(holder[key])
        elif what == 1:
            holder[generator.choice(["format", "version", "x", "", "epoch"])] = copy.deepcopy(generator.choice(VALUES))
        elif what == 2 and isinstance(holder[key], (int, float)):
            holder[key] = generator.choice([holder[key] + 1, -holder[key], holder[key] * 1000, str(holder[key])])
        else:
            holder[key] = copy.deepcopy(generator.choice(VALUES))
        if not value:
            break
    return json.dumps(value, allow_nan=True).encode("utf-8", "surrogatepass")


def _anywhere(value: Any, generator: random.Random) -> tuple[Any, Any]:
    """A place in a value that holds something, and a key of it."""
    while True:
        key = generator.choice(list(value)) if isinstance(value, dict) else generator.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, (dict, list)) or not inner or generator.random() < 0.3:
            return value, key
        value = inner


def mutate_bytes(content: bytes, generator: random.Random) -> bytes:
    """Bits turned, a stretch cut out, doubled or overwritten, or the end cut off; mostly near the beginning or end."""
    changed = bytearray(content)
    for _ in range(generator.randint(1, 3)):
        near = generator.choice([64, 1000, max(len(changed), 1)])
        place = generator.randrange(min(near, len(changed)) or 1)
        place = place if generator.random() < 0.5 else max(len(changed) - 1 - place, 0)
        what, size = generator.randrange(5), generator.choice([1, 2, 8, 100])
        if what == 0 and changed:
            changed[place] ^= 1 << generator.randrange(8)
        elif what == 1:
            del changed[place : place + size]
        elif what == 2:
            changed[place:place] = changed[place : place + size]
        elif what == 3:
            changed[place : place + size] = generator.randbytes(size)
        else:
            del changed[place:]
    return bytes(changed)


def mutate(path: Path, generator: random.Random) -> None:
    """Change a file in its place; JSON by its values most of the time."""
    content = path.read_bytes()
    if path.suffix == ".json" and generator.random() < 0.8:
        path.write_bytes(mutate_json(content, generator))
    elif path.suffix == ".jsonl" and content.strip() and generator.random() < 0.7:
        lines = content.splitlines()
        number = generator.randrange(len(lines))
        lines[number] = mutate_json(lines[number], generator)
        path.write_bytes(b"\n".join(lines) + b"\n")
    else:
        path.write_bytes(mutate_bytes(content, generator))


def wrong_bytes(content: bytes, generator: random.Random) -> bytes:
    """One or a few bytes are others."""
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 1, 4))):
        damaged[generator.randrange(len(damaged))] = generator.randrange(256)
    return bytes(damaged)


def refusals(path: Path, contents: Iterable[bytes], read: Callable[[], object]) -> list[str]:
    """What is said of the file with each of these contents that is refused."""
    messages = []
    for content in contents:
        path.write_bytes(content)
        try:
            read()
        except (ValueError, FileNotFoundError) as error:
            messages.append(str(error))
    return messages


def try_changes(names: list[str], original: Path, changed: Path, read: Callable[[Path, Path], None]) -> None:
    """One file is changed at a time; all kinds of faults are told, the first of each."""
    generator, end, outcomes = (
        random.Random(time.time_ns() if SECONDS else 1),
        time.monotonic() + SECONDS,
        Counter[str](),
    )
    found: dict[str, str] = {}
    shutil.copytree(original, changed)
    while time.monotonic() < end if SECONDS else outcomes.total() < CHANGES:
        name = names[outcomes.total() % len(names)]
        mutate(changed / name, generator)
        outcome, damage = "read", None
        try:
            read(changed, original)
        except (ValueError, TypeError, FileNotFoundError) as error:
            outcome, message = "refused", str(error)
            if "\n" in message or len(message) > 1500 or str(changed) not in message:
                damage = f"message: {message}"
        except Exception as error:
            damage = f"{type(error).__name__}: {str(error)[:1000]}"
        if damage is not None:
            outcome = "FAULT"
            found.setdefault(f"{name} {damage[:60]}", f"{damage}: {(changed / name).read_bytes()!r}")
        outcomes[f"{name} {outcome}"] += 1
        shutil.copyfile(original / name, changed / name)
    print(f"{outcomes.total():,} changes: {dict(sorted(outcomes.items()))}")
    assert not found, "\n\n".join(found.values())


def assert_other_counts_are_noticed(original: Path, changed: Path, record: str, read: Callable[[Path], Any]) -> None:
    """A file without checksums of its own is known by its SHA-256; where earlier versions wrote none, it is read."""
    shutil.copytree(original, changed)
    items = pq.read_table(changed / "items.parquet")
    others = items.set_column(2, "count", pa.array(range(items.num_rows), pa.int64()))
    pq.write_table(others, changed / "items.parquet")
    with pytest.raises(ValueError, match=r"items.parquet: damaged Parquet file: expected the SHA-256 that was rec"):
        read(changed)
    forget_digests(changed / record)
    assert read(changed).vocabulary.counts.tolist() == list(range(items.num_rows))
