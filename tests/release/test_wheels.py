"""What the workflow of wheels runs on each of them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support import ROOT


def test_op_tests_find_what_they_read(tmp_path: Path) -> None:
    """They are run beside the installed wheel, with the sources that are copied for them and no others."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    for name in built["test-sources"]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    program, *arguments = shlex.split(built["test-command"])
    assert program == "pytest"
    command = [sys.executable, "-m", "pytest", *arguments, "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
