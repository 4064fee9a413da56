"""Programs of users that load more than one copy of the ops."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.serving.folders import make_export
from tests.support import shared


def test_two_exports() -> None:
    """Of the session's two items none is known to either model: answered by popularity."""
    program = shared("field_cases/two-exports/reload.py")
    folders = [str(make_export()), str(make_export("sr_gnn"))]
    command = [sys.executable, "-W", "ignore", str(program), *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{folder} [2]" for folder in folders]
