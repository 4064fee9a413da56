"""Every line in is one line out, whatever it holds, and the lines around it keep their answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cpp.programs import PROGRAMS
from tests.serving.folders import K_MAX, make_export, make_run

CORPUS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.line"))}
LONG = {
    "bad-long-line": b'{"items": [13], "x": "' + b"x" * (1 << 20) + b'"}',
    "bad-long-nonsense": b"[" * 3_000_000,
    "bad-long-invalid": b"\xff" * 3_000_000,
    "good-almost-too-long": b'{"items": [13], "x": "' + b"x" * ((1 << 20) - 24) + b'"}',
}
BOTH = pytest.mark.parametrize("program", ["serve", "serve_compiled"])


def answers(program: str, folder: Path, lines: bytes) -> list[Any]:
    result = subprocess.run([PROGRAMS / program, folder], input=lines, capture_output=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()
    return [json.loads(line) for line in result.stdout.split(b"\n")[:-1]]


@BOTH
@pytest.mark.parametrize("strings", [False, True])
def test_corpus(program: str, strings: bool) -> None:
    """Lines that `good` begins are answered where ids are integers; all others name what is wrong."""
    known = b'{"items": ["item-13", "item-23"], "k": 5}' if strings else b'{"items": [13, 23], "k": 5}'
    lines = {**CORPUS, **LONG}
    first, *rest = answers(program, make_export(strings=strings), b"\n".join([known, *_between(known, lines), b""]))
    assert len(first["items"]) == 5
    assert len(rest) == 2 * len(lines)
    for name, answer, again in zip(lines, rest[::2], rest[1::2], strict=True):
        assert again == first, name
        expected = ["error"] if name.startswith("bad") else ["items", "scores", "status"]
        if not strings or name == "good-no-clicks":
            assert sorted(answer) == expected, (name, answer)
        else:
            assert list(answer) == ["error"], (name, answer)
            if name.startswith("good"):
                assert answer["error"].startswith("items: expected strings as the model's ids, got "), name
        if "error" in answer:
            assert 0 < len(answer["error"]) <= 500


def _between(known: bytes, lines: dict[str, bytes]) -> list[bytes]:
    return [line for content in lines.values() for line in (content, known)]


@BOTH
def test_last_line_without_an_end(program: str) -> None:
    lines = b'{"items": [13], "k": 1}\n\n{"items": [13], "k": 1}'
    first, empty, last = answers(program, make_export(), lines)
    assert first == last
    assert list(empty) == ["error"]
    assert answers(program, make_export(), b"") == []
    assert len(answers(program, make_export(), b"\n")) == 1


@BOTH
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"items": [13], "k": 0}', "k: expected 1 or more, got 0"),
        ('{"items": [13], "k": -1}', "k: expected 1 or more, got -1"),
        ('{"items": [13], "k": 1.7}', "k: expected an integer, got 1.7"),
        ('{"items": [13], "k": 1e3}', "k: expected an integer, got 1e3"),
        ('{"items": [13], "k": "3"}', "k: expected an integer, got a string"),
        ('{"items": [13], "k": null}', "k: expected an integer, got null"),
        ('{"items": ["13"]}', "items: expected integers as the model's ids, got a string"),
        ('{"items": [13], "items": []}', "items: expected once, got it twice"),
        ('{"items": [], "candidates": null}', "candidates: expected a list of item ids, got null"),
        ('{"items": [], "candidates": ["13"]}', "candidates: expected integers as the model's ids, got a string"),
        ('{"items": [], "exclude": 13}', "exclude: expected a list of item ids, got 13"),
        ('{"items": [], "exclude": [1.5]}', "exclude: expected integers as the model's ids, got 1.5"),
        ('{"exclude": [], "exclude": []}', "exclude: expected once, got it twice"),
        ("", "line: expected JSON, got "),
        ("[]", "line: expected an object, got a list"),
        ('{"k": 3}', "items: expected a list of item ids, got none"),
    ],
)
def test_messages(program: str, line: str, message: str) -> None:
    (answer,) = answers(program, make_export(), line.encode() + b"\n")
    assert answer["error"].startswith(message)


def test_k_above_the_catalogue() -> None:
    """All items from the model; the compiled program has only the longest list that it was made for."""
    items = len(make_run().vocabulary)
    ks = [items, items + 1, 2_000_000_000, 2**63 - 1, 2**63, 2**64, 10**30]
    lines = "".join(json.dumps({"items": [13, 23], "k": k}) + "\n" for k in ks).encode()
    for answer in answers("serve", make_export(), lines):
        assert len(answer["items"]) == len(set(answer["items"])) == items
    for answer in answers("serve_compiled", make_export(), lines):
        assert answer["error"] == f"k: expected 1..{K_MAX}, the longest list of this export (k_max), got more"
