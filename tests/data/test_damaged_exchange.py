"""Damaged exchange files: refused in a line, or read as pickle itself reads them."""

from __future__ import annotations

import os
import pickle
import pickletools
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from tagnn_fast.data import read_exchange
from tests.data.exchange_files import all_examples, as_value, limited_memory, raw_examples, raw_sessions
from tests.mutated import mutate_bytes

# It takes so long where it is set; the seed is the clock's then.
SECONDS = float(os.environ.get("TAGNN_FAST_FUZZ_SECONDS", 0))
FILES = 1000
OPCODES = [bytes([code]) for code in (*b"()]}.0123IJKLMNQRTUXabcdeghijloprstu", *range(0x80, 0x99))]


def random_files(generator: random.Random) -> dict[str, bytes]:
    """A few sessions, whole or as examples, in any protocol."""
    sessions = [
        [generator.randint(1, 9) for _ in range(generator.randint(1, 6))] for _ in range(generator.randint(1, 8))
    ]
    if generator.random() < 0.3:
        sessions += sessions[:2]  # lists that are named twice
    examples = as_value(all_examples(sessions))
    train: dict[str, Any] = generator.choice([{"all_train_seq.txt": sessions}, {"train.txt": examples}])
    return {
        name: pickle.dumps(value, generator.randrange(6)) for name, value in {**train, "test.txt": examples}.items()
    }


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Bytes changed, a few of pickle's opcodes put anywhere, or whole steps of it exchanged, doubled or changed."""
    kind = generator.randrange(4)
    if kind == 0:
        return mutate_bytes(content, generator)
    if kind == 1:
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(content))
            codes = b"".join(generator.choice(OPCODES) for _ in range(generator.randint(1, 3)))
            content = content[:place] + codes + content[place + generator.randrange(2) :]
        return content
    begins = [place for _, _, place in pickletools.genops(content) if place is not None]
    steps = [content[begin:end] for begin, end in pairwise([*begins, len(content)])]
    for _ in range(generator.randint(1, 3)):
        one, other = generator.randrange(len(steps)), generator.randrange(len(steps))
        what = generator.randrange(4)
        if what == 0:
            steps[one], steps[other] = steps[other], steps[one]
        elif what == 1:
            steps.insert(one, steps[other])
        elif what == 2:
            steps[one] = steps[other]
        elif len(steps[one]) == 2:  # its argument: a number of one digit or byte
            steps[one] = steps[one][:1] + generator.randbytes(1)
    return b"".join(steps)


def read(folder: Path, files: dict[str, bytes]) -> str:
    """Write them, read them, and compare; read or refused."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    message = None
    try:
        dataset = read_exchange(folder)
    except ValueError as error:
        message = str(error)
    if message is not None:
        assert "\n" not in message
        assert len(message) < 1500
        return "refused"
    values = {name: pickle.loads(content) for name, content in files.items()}
    if "all_train_seq.txt" in values:
        assert raw_sessions(dataset, dataset.train) == [list(session) for session in values["all_train_seq.txt"]]
    else:
        expected = [(list(prefix), target) for prefix, target in zip(*values["train.txt"], strict=True)]
        assert raw_examples(dataset, dataset.train) == expected
    known = set(dataset.vocabulary.raw_ids.to_pylist())
    expected = [
        ([item if item in known else 0 for item in prefix], target if target in known else 0)
        for prefix, target in zip(*values["test.txt"], strict=True)
    ]
    assert raw_examples(dataset, dataset.test) == expected
    return "read"


def test_damaged_files(tmp_path: Path) -> None:
    generator, end, outcomes = (
        random.Random(time.time_ns() if SECONDS else 1),
        time.monotonic() + SECONDS,
        Counter[str](),
    )
    slowest = 0.0
    with limited_memory(2 * 2**30):
        while time.monotonic() < end if SECONDS else outcomes.total() < FILES:
            files = random_files(generator)
            name = generator.choice(list(files))
            files[name] = damaged(files[name], generator)
            begin = time.monotonic()
            try:
                outcomes[f"{name} {read(tmp_path, files)}"] += 1
            except Exception as error:
                raise AssertionError(f"{name}: {files}") from error
            slowest = max(slowest, time.monotonic() - begin)
    print(f"{outcomes.total():,} files: {dict(outcomes)}; the slowest took {slowest:.2f} s")
    for kind in ("read", "refused"):
        assert sum(count for name, count in outcomes.items() if name.endswith(kind)) > outcomes.total() / 20
