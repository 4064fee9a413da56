"""The built programs, and what they answer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import ROOT

PROGRAMS = Path(os.environ.get("TAGNN_FAST_CPP", ROOT / "build" / "cpp"))


def run(program: str, folder: Path, *arguments: object, lines: Sequence[str] = ()) -> list[Any]:
    command = [str(PROGRAMS / program), str(folder), *map(str, arguments)]
    result = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def ask(program: str, folder: Path, sessions: Sequence[Sequence[object]], k: int, **choice: object) -> list[Any]:
    requests = [{"items": session, "k": k, **choice} for session in sessions]
    return run(program, folder, lines=[json.dumps(request) for request in requests])
