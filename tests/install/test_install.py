"""Every way to install the package, each from a fresh copy of the sources."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.install.environments import BUILD_TOOLS, TORCH, Environment, copy_sources, create
from tests.test_front_door import BLOCK, COLUMNS, clicks


def installed(output: str) -> list[str]:
    """What pip put into each environment of a run, the build environments' packages first."""
    return re.findall("Successfully installed (.+)", output)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return copy_sources(tmp_path / "sources")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return create(tmp_path_factory.mktemp("environment"), TORCH, "numpy", *BUILD_TOOLS)


@pytest.fixture
def with_torch(shared: Environment) -> Iterator[Environment]:
    """Environment with PyTorch and the build tools, without this package."""
    yield shared
    shared.run("pip", "uninstall", "--yes", "tagnn_fast")


def test_isolated_build_uses_installed_torch(with_torch: Environment, sources: Path) -> None:
    received = installed(with_torch.install(sources))
    assert "ninja-" in received[0]
    assert "torch-" not in " ".join(received)
    with_torch.check(with_torch.packages / "tagnn_fast")


def test_isolated_build_fetches_missing_torch(tmp_path: Path, sources: Path) -> None:
    environment = create(tmp_path / "environment")
    *builds, target = installed(environment.install(sources))
    assert "torch-" in " ".join(builds)
    assert "torch-" in target
    environment.check(environment.packages / "tagnn_fast")


def test_isolated_build_uses_named_torch(tmp_path: Path, shared: Environment, sources: Path) -> None:
    environment = create(tmp_path / "environment")
    named = {"TAGNN_FAST_TORCH_DIR": str(shared.packages / "torch")}
    assert "torch-" not in " ".join(installed(environment.install("--no-deps", sources, variables=named)))
    environment.install(TORCH, "numpy")
    environment.check(environment.packages / "tagnn_fast")


def test_without_isolation(with_torch: Environment, sources: Path) -> None:
    with_torch.install("--no-build-isolation", sources)
    with_torch.check(with_torch.packages / "tagnn_fast")


def test_command_line(tmp_path: Path, with_torch: Environment, sources: Path) -> None:
    """The core install prepares data; training says which extra it needs, and has it with that."""
    with_torch.install("--no-build-isolation", sources)
    data, run = tmp_path / "data", tmp_path / "run"
    with_torch.run("tagnn-fast", "prepare", "synthetic", data, "--clicks", "300", "--items", "20")
    train = ("tagnn-fast", "train", data, "--run", run, "--hidden-size", "4", "--epochs", "1")
    message = with_torch.run(*train, fails=True)
    assert re.search(r"error: this command needs \w+: pip install 'tagnn_fast\[train\]'", message)
    assert not run.exists()
    with_torch.install("--no-build-isolation", f"{sources}[train]")
    with_torch.run(*train)
    with_torch.run("tagnn-fast", "recommend", run, "10001")


def test_front_door(tmp_path: Path, with_torch: Environment, sources: Path) -> None:
    """Its lines run with two extras and no data frame library; without them, it says what to install."""
    pq.write_table(pa.table(clicks()).drop_null(), tmp_path / "log.parquet")
    begin = f"""
import os, tagnn_fast, pyarrow.parquet
os.chdir({str(tmp_path)!r})
frame = pyarrow.parquet.read_table("log.parquet")
tagnn_fast.prepare(frame, "data/diginetica", **{COLUMNS})
"""
    with_torch.install("--no-build-isolation", sources)
    message = "prepare needs ibis: pip install 'tagnn_fast[prepare]'"
    assert message in with_torch.run("python", "-c", begin + BLOCK, fails=True)
    with_torch.install("--no-build-isolation", f"{sources}[train,prepare]")
    output = with_torch.run("python", "-c", begin + BLOCK)
    assert "sequential rules" in output
    assert (tmp_path / "exported" / "manifest.json").exists()


def test_editable(with_torch: Environment, sources: Path) -> None:
    with_torch.install("--no-build-isolation", "--editable", sources)
    with_torch.check(sources / "tagnn_fast")


@pytest.mark.parametrize("isolated", [False, True])
def test_uv(isolated: bool, tmp_path: Path, with_torch: Environment, sources: Path) -> None:
    with_torch.install("uv")
    (tmp_path / "no-torch.txt").write_text("torch<0\n")  # the build must not ask for another one
    named = {"TAGNN_FAST_TORCH_DIR": str(with_torch.packages / "torch")} if isolated else {}
    isolation = ("--build-constraints", tmp_path / "no-torch.txt") if isolated else ("--no-build-isolation",)
    target = ("--python", with_torch.folder / "bin" / "python", "--no-deps", "--no-cache")
    with_torch.run("uv", "pip", "install", *target, *isolation, sources, variables=named)
    with_torch.check(with_torch.packages / "tagnn_fast")


def test_refuses_without_torch(tmp_path: Path, sources: Path) -> None:
    environment = create(tmp_path / "environment", *BUILD_TOOLS)
    output = environment.install("--no-build-isolation", sources, fails=True)
    assert "No PyTorch to compile against. Install it first (pip install 'torch>=2.10'), or name its folder" in output


def test_refuses_old_setuptools(tmp_path: Path, sources: Path) -> None:
    """The one that Python 3.11 puts into a new environment."""
    environment = create(tmp_path / "environment", "setuptools==65.5.0")
    output = environment.install("--no-build-isolation", "--no-deps", sources, fails=True)
    message = "setuptools: expected 77 or newer, got 65.5.0; pip install 'setuptools>=77', or build without"
    assert f"{message} --no-build-isolation\n" in output


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TAGNN_FAST_TORCH_DIR", "/nowhere", "expected the folder of an installed PyTorch 2.10 or newer"),
        ("TAGNN_FAST_CUDA", "1", "expected nvcc on PATH or under CUDA_HOME, found none; install the CUDA toolkit"),
        ("CXX", "no-such-compiler", "expected no-such-compiler on PATH, found none; install g++"),
        ("_PYTHON_HOST_PLATFORM", "macosx-15.0-arm64", "expected Linux, got macosx-15.0-arm64; a Linux container does"),
    ],
)
def test_refuses(name: str, value: str, message: str, tmp_path: Path, with_torch: Environment, sources: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "g++").symlink_to(shutil.which("g++") or "g++")  # all there is on PATH: no nvcc
    variables = {name: value, "PATH": str(tmp_path / "bin")}
    assert message in with_torch.install("--no-build-isolation", sources, variables=variables, fails=True)
