"""Mutated lines into a real program: one line out for each line in, and good lines keep their answers.

    python -m tests.cpp.fuzz_lines build/cpp/serve EXPORT --seconds 600

EXPORT has integers as item ids; good lines ask for its items 13 and 23, known or not. Prints what was tried.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import time
from pathlib import Path

GOOD = b'{"items": [13, 23], "k": 5}'
PIECES = [
    b'"items":',
    b'"k":',
    b'"candidates":',
    b'"exclude_clicked":',
    b'"exclude":',
    b"true",
    b"null",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"1e3",
    b"13",
]
PIECES += [
    b"9223372036854775808",
    b"-1",
    b"\xff",
    b"\0",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"\\ud800",
    b'"',
    b"\\",
    b"[" * 50,
]


def mutated(draw: random.Random, line: bytes, other: bytes) -> bytes:
    content = bytearray(line)
    for _ in range(draw.randint(1, 6)):
        place = draw.randint(0, len(content))
        match draw.randrange(6):
            case 0:
                content[place : place + draw.randint(1, 8)] = b""
            case 1:
                content[place:place] = draw.choice(PIECES)
            case 2:
                content[place:place] = draw.randbytes(draw.randint(1, 4))
            case 3:
                content[place:] = other[draw.randint(0, len(other)) :]
            case 4:
                content[place:place] = content[:place] * draw.randint(1, 3)
            case 5:
                content[place : place + 1] = bytes([draw.randrange(256)])
    return bytes(content[: 1 << 21]).replace(b"\n", b" ")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    corpus = [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.line"))]
    draw, end = random.Random(options.seed), time.monotonic() + options.seconds
    tried = answered = 0
    expected = None
    while time.monotonic() < end:
        lines = [mutated(draw, draw.choice(corpus), draw.choice(corpus)) for _ in range(2000)]
        sent = b"".join(line + b"\n" + GOOD + b"\n" for line in lines)
        result = subprocess.run([options.program, options.export], input=sent, capture_output=True)
        assert result.returncode == 0, (result.returncode, result.stderr, lines)
        answers = result.stdout.split(b"\n")[:-1]
        assert len(answers) == 2 * len(lines), lines
        expected = answers[1] if expected is None else expected
        for line, answer, good in zip(lines, answers[::2], answers[1::2], strict=True):
            assert good == expected, line
            assert sorted(json.loads(answer)) in (["error"], ["items", "scores", "status"]), line
            answered += b'"error"' not in answer
        tried += len(lines)
    print(f"{tried} mutated lines, {answered} of them answered with items, {tried} good lines all with the same answer")


if __name__ == "__main__":
    main()
