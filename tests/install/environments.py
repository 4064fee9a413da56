"""Virtual environments to install into, and copies of the sources to install from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "torch==2.13.0"  # pinned as in the Makefile
BUILD_TOOLS = ("setuptools>=77", "ninja>=1.11", "pybind11>=2.12")
# Variables that would change what is built or imported.
CLEARED = ("CXX", "CUDA_HOME", "PIP_BUILD_CONSTRAINT", "PYTHONPATH", "PYTHONOPTIMIZE", "VIRTUAL_ENV")

USE = """
import pathlib, sys, torch, tagnn_fast
print(tagnn_fast.__file__, tagnn_fast.cpu_capability(), tagnn_fast.build_information())
assert pathlib.Path(tagnn_fast.__file__).parent.samefile(sys.argv[1])
assert tagnn_fast.build_information()["torch"] == torch.__version__
model = tagnn_fast.TAGNNPP(tagnn_fast.ModelConfig(num_items=10, hidden_size=8))
scores, items = model.topk(*tagnn_fast.SessionBatch.from_lists([[3, 9, 3], [5]]), k=3)
assert scores.shape == items.shape == (2, 3)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment; programs start in its folder, outside of any source tree."""

    folder: Path

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, *command: str | Path, variables: dict[str, str] | None = None, fails: bool = False) -> str:
        """Output of a program of this environment; whether it fails must be as expected."""
        environ = {k: v for k, v in os.environ.items() if k not in CLEARED and not k.startswith("TAGNN_FAST_")}
        # Older releases of pip heed the first in isolated builds too, newer ones the second, and only there.
        environ["PIP_CONSTRAINT"] = str(self.folder / "constraints.txt")
        if "--no-build-isolation" not in command:
            environ["PIP_BUILD_CONSTRAINT"] = environ["PIP_CONSTRAINT"]
        called = [str(self.folder / "bin" / command[0]), *map(str, command[1:])]
        environ |= variables or {}
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        done = subprocess.run(called, cwd=self.folder, env=environ, stdout=pipe, stderr=both, text=True)
        assert (done.returncode != 0) == fails, f"{called}\n{done.stdout}"
        return str(done.stdout)

    def install(self, *arguments: str | Path, variables: dict[str, str] | None = None, fails: bool = False) -> str:
        return self.run("pip", "install", "--verbose", *arguments, variables=variables, fails=fails)

    def check(self, package: Path) -> None:
        """Runs a model with the package, which must lie in this folder, and looks at what its library links."""
        self.run("python", "-c", USE, package)
        library = package / "libtagnn_fast_ops.so"
        dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)
        assert "libtorch_cpu.so" in needed
        assert not any("python" in name for name in needed)


def create(folder: Path, *requirements: str) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (folder / "constraints.txt").write_text(f"{TORCH}\n")
    environment = Environment(folder)
    if requirements:
        environment.install(*requirements)
    return environment


def copy_sources(folder: Path) -> Path:
    """The source tree in a new folder without what git ignores: builds start from nothing and leave nothing."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if (ROOT / name).is_file():  # neither deleted nor the empty name after the last
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
