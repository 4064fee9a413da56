"""Requests that ended a C++ program: every line has its answer, and the lines around it keep theirs."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cpp.programs import PROGRAMS
from tests.serving.folders import make_export
from tests.support import shared


@pytest.mark.parametrize("program", ["serve", "serve_compiled"])
def test_every_line_is_answered(program: str) -> None:
    if not (PROGRAMS / program).exists():
        pytest.skip("needs the C++ programs: make cpp")
    for path in sorted(shared("field_cases/cpp-serve-dies").glob("*.jsonl")):
        lines = path.read_bytes()
        result = subprocess.run([PROGRAMS / program, make_export()], input=lines, capture_output=True, timeout=300)
        assert result.returncode == 0, result.stderr
        first, error, *rest = map(json.loads, result.stdout.splitlines())
        assert list(error) == ["error"], path.name
        assert len(first["items"]) == 2
        assert 2 + len(rest) == len(lines.splitlines())
        assert all(answer == first for answer in rest)
