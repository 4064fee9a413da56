"""Programs of users that load more than one copy of the ops."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.serving.folders import make_export
from tests.support import SHARED

PROGRAM = SHARED / "field_cases" / "two-exports" / "reload.py"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no field cases")


def test_two_exports() -> None:
    """Of the session's two items none is known to either model: answered by popularity."""
    folders = [str(make_export()), str(make_export("sr_gnn"))]
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{folder} [2]" for folder in folders]
