"""`make compile_commands.json`: what editors are told of the C++ files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def test_every_source(tmp_path: Path) -> None:
    """Each file, by a command that its compiler accepts; nothing is compiled."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tagnn_fast/version.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    subprocess.run([sys.executable, "setup.py", "--quiet", "compile_commands"], cwd=tmp_path, check=True)
    commands = json.loads((tmp_path / "compile_commands.json").read_text())
    told = {Path(command["file"]).relative_to(tmp_path) for command in commands}
    sources = {path.relative_to(tmp_path) for path in (tmp_path / "csrc").rglob("*.cpp")}
    assert {
        path for path in sources - told if not path.stem.endswith("_bfloat16_kernel")
    } == set()  # those of x86 alone
    (module,) = (command for command in commands if command["file"].endswith("module.cpp"))
    command = f"{module['command']} -fsyntax-only"
    assert subprocess.run(command, shell=True, cwd=module["directory"], capture_output=True).returncode == 0
    assert not list(tmp_path.rglob("*.so"))
