"""The build and the tests, on a GPU. Nothing here needs the package."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.sections import ROOT


def build(folder: Path, run: str | None) -> dict[str, Any]:
    """Both libraries, in the source tree, for this card alone unless TORCH_CUDA_ARCH_LIST says otherwise."""
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = {"TORCH_CUDA_ARCH_LIST": own_architecture(), **os.environ, "TAGNN_FAST_CUDA": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (folder / "build.log").write_bytes(result.stdout)
    if result.returncode != 0:
        print(result.stdout.decode()[-4000:])
        return {"failed": "the build; see build.log"}
    return {"table": {"libraries": ", ".join(sorted(path.name for path in (ROOT / "tagnn_fast").glob("*.so")))}}


def own_architecture() -> str:
    """The card's name in TORCH_CUDA_ARCH_LIST, with what is special to it from Hopper on."""
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}{'a' if major >= 9 else ''}"


def installed(name: str) -> bool:
    """Whether there is a module of that name."""
    return importlib.util.find_spec(name) is not None


def op_tests(folder: Path, run: str | None) -> dict[str, Any]:
    """What tests of ops, models, goldens and resident training do on a GPU, on many processes where xdist is."""
    missing = [name for name in ("pytest", "hypothesis", "safetensors") if not installed(name)]
    if missing:
        return {"table": {"skipped": f"expected {', '.join(missing)} to be installed"}}
    paths = ["tests/ops", "tests/test_goldens.py", "tests/nn"]
    if installed("lightning_fabric"):
        paths.append("tests/training/test_steps.py")
    at_once = ["-n", "8"] if installed("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *at_once, *paths, "-k", "cuda or gpu"]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    (folder / "tests.log").write_bytes(result.stdout)
    lines = result.stdout.decode().strip().splitlines()
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    print("\n".join([*failures[:40], *lines[-1:]]))
    figures: dict[str, Any] = {"table": {"pytest": lines[-1] if lines else "no output"}, "failures": failures}
    if result.returncode != 0:
        figures["failed"] = f"{lines[-1] if lines else 'no output'}; see tests.log"
    return figures
