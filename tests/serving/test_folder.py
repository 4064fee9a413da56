"""What is in an exported folder, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.ops import library
from tagnn_fast.serving.export import export
from tests.cli.commands import run as run_command
from tests.serving.folders import make_export, make_run, sample_sessions


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_export(), tmp_path / "copied"))


def test_manifest() -> None:
    folder, run = make_export(), make_run()
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files - {"manifest.json"} == set(manifest["files"])
    assert {"model.ts", "model.pt2", "model.aoti.pt2", "items.parquet", library.PATH.name} < files
    assert (manifest["versions"]["tagnn_fast"], manifest["versions"]["torch"]) == (
        tagnn_fast.__version__,
        torch.__version__,
    )
    assert manifest["versions"]["ops"] == tagnn_fast.build_information()["ops"]
    assert (manifest["version"], manifest["inputs"], manifest["missing"]) == (3, "item ids", {})
    assert (manifest["items"], manifest["item_ids"], manifest["k_max"]) == (len(run.vocabulary), "integers", 1000)
    assert manifest["model"] == run.configuration["model"]
    assert str(run.folder) not in (folder / "manifest.json").read_text()
    for name, entry in manifest["files"].items():
        assert entry["bytes"] == (folder / name).stat().st_size
    assert (folder / library.PATH.name).read_bytes() == library.PATH.read_bytes()


def test_result_is_in_the_card(tmp_path: Path) -> None:
    run = make_run()
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (folder / "result.json").write_text('{"test": {"HR@20": 50.0}}')
    outcome = run_command("export", folder, tmp_path / "exported", "--k-max", 5, "--formats", "program")
    assert outcome.returncode == 0, outcome.stderr
    assert "wrote" in outcome.stdout
    manifest = json.loads((tmp_path / "exported" / "manifest.json").read_text())
    assert manifest["card"]["result"] == {"test": {"HR@20": 50.0}}
    assert manifest["k_max"] == 5
    again = run_command("export", folder, tmp_path / "exported")
    assert again.returncode == 1
    assert "expected a folder that does not exist yet" in again.stderr


@pytest.mark.parametrize("name", ["model.ts", "items.parquet"])
def test_damage_is_found(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: expected the content that the manifest names, got another"):
        tagnn_fast.load(copied)


def test_other_errors(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^format: expected one of torchscript, program, compiled, got 'onnx'$"):
        tagnn_fast.load(copied, "onnx")
    with pytest.raises(FileNotFoundError):
        tagnn_fast.load(tmp_path / "nowhere")
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(ValueError, match="a newer tagnn_fast wrote it"):
        tagnn_fast.load(copied)
    with pytest.raises(ValueError, match="^k_max: expected 1 or more, got 0$"):
        export(make_run(), tmp_path / "exported", k_max=0)


@pytest.mark.parametrize(
    ("items", "offsets", "k", "kind", "message"),
    [
        ([1.0], [0, 1], 5, TypeError, "items: expected int64, got float32"),
        ([[1]], [0, 1], 5, ValueError, "items: expected one dimension, got shape (1, 1)"),
        ([1], [0, 2], 5, ValueError, "offsets: expected to rise from 0 to the number of clicks 1, got others"),
        ([1, 2], [0, 2, 1, 2], 5, ValueError, "offsets: expected to rise from 0 to the number of clicks 2, got others"),
        ([1], [0, 1], 0, ValueError, "k: expected 1 or more, got 0"),
        ([1], [0, 1], True, TypeError, "k: expected an int, got True"),
        ([1], [0, 1], 1.7, TypeError, "k: expected an int, got 1.7"),
    ],
)
def test_requests_are_checked(items: object, offsets: object, k: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        tagnn_fast.load(make_export())(torch.tensor(items), torch.tensor(offsets), k)
    assert message in str(error.value)


def test_strings_of_a_model_with_integers() -> None:
    for format in ("torchscript", "program"):
        with pytest.raises(ValueError, match="expected a model whose item ids are strings, got one with integers"):
            tagnn_fast.load(make_export(), format).recommend_strings([["13"]], 3)


WITHOUT_PACKAGE = """
import sys, torch
if sys.argv[2]:
    torch.ops.load_library(sys.argv[2])
model = torch.jit.load(sys.argv[1])
assert "tagnn_fast" not in sys.modules
with torch.inference_mode():
    print(model.recommend([[13, 23]], 3)[0])
"""


@pytest.mark.parametrize("with_library", [True, False])
def test_torchscript_without_the_package(with_library: bool, tmp_path: Path) -> None:
    """With the folder's own library the model runs; without any, the error names the op that is missing."""
    folder = make_export()
    path = str(folder / library.PATH.name) if with_library else ""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_PACKAGE, str(folder / "model.ts"), path]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    if with_library:
        assert result.stdout.strip() == str(tagnn_fast.load(folder).recommend([[13, 23]], 3).items)
    else:
        assert "Unknown builtin op: tagnn_fast::" in result.stderr


@pytest.mark.parametrize("format", ["torchscript", "program", "compiled"])
def test_threads(format: str) -> None:
    """Eight threads at once get the answers of one."""
    served, sessions = tagnn_fast.load(make_export(), format), sample_sessions()
    expected = [served.recommend([session], 20) for session in sessions]
    end, wrong = time.monotonic() + float(os.environ.get("TAGNN_FAST_THREAD_SECONDS", "2")), []

    def ask() -> None:
        while time.monotonic() < end:
            for session, answer in zip(sessions, expected, strict=True):
                if served.recommend([session], 20) != answer:
                    wrong.append(session)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
