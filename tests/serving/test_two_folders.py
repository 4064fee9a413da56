"""Yesterday's and today's model in one process, each folder with its own copy of the ops library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.ops import library
from tests.serving.folders import make_export

# Prints the rows that each model answers with; a name that is no folder is the package.
SERVE = """
import sys, torch
for name in sys.argv[1:]:
    if name == "package":
        import tagnn_fast
        continue
    torch.ops.load_library(f"{name}/libtagnn_fast_ops.so")
    items, offsets = torch.tensor([13, 23, 13, 43]), torch.tensor([0, 3, 4])
    none, no = torch.empty(0, dtype=torch.int64), torch.tensor(False)
    with torch.inference_mode():
        print(torch.jit.load(f"{name}/model.ts")(items, offsets, 5)[0].tolist())
        compiled = torch._inductor.aoti_load_package(f"{name}/model.aoti.pt2")
        print(compiled(items, offsets, none, no, no, none, none, items[:2])[0][:, :5].tolist())
"""


def serve(*names: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", SERVE, *map(str, names)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def expected(folder: Path) -> list[str]:
    answers = []
    for format in ("torchscript", "compiled"):
        items, offsets = torch.tensor([13, 23, 13, 43]), torch.tensor([0, 3, 4])
        answers.append(str(tagnn_fast.load(folder, format)(items, offsets, 5)[0].tolist()))
    return answers


@pytest.mark.parametrize("package", [None, 1])
def test_two_folders(package: int | None) -> None:
    """Both models' answers, in TorchScript and compiled, without the package or with it, whenever that comes."""
    folders = [make_export(), make_export("sr_gnn")]
    names: list[object] = [*folders]
    if package is not None:
        names.insert(package, "package")
    done = serve(*names)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [*expected(folders[0]), *expected(folders[1])]
    assert expected(folders[0]) != expected(folders[1])


def test_folder_of_another_version(tmp_path: Path) -> None:
    """An exception that names both versions, after the first folder's answers."""
    folder, other = make_export(), tmp_path / "other"
    shutil.copytree(folder, other)
    version = str(tagnn_fast.build_information()["ops"])
    changed = other / library.PATH.name
    changed.write_bytes(changed.read_bytes().replace(version.encode(), b"7" * len(version)))
    done = serve(folder, other)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == expected(folder)
    assert f"OSError: {changed}: expected ops of version {version}, which " in done.stderr
    assert f"got version {'7' * len(version)}\n" in done.stderr
