"""More than one copy of the ops library in a process, of one version and of two; and processes that fork."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast.ops import library

LIBRARY = Path(tagnn_fast.__file__).parent / "libtagnn_fast_ops.so"
VERSION = str(tagnn_fast.build_information()["ops"])
OTHER_VERSION = "9" * len(VERSION)

# Sessions [3, 9, 3], []: the graph's nodes and edges, by whichever ops are registered.
ANSWER = """
import ctypes, sys, torch
def load(name, mode=ctypes.DEFAULT_MODE):
    if name == "package":
        import tagnn_fast
    elif mode == ctypes.DEFAULT_MODE:
        torch.ops.load_library(name)
    else:
        ctypes.CDLL(name, mode)
def check_answer():
    graph = torch.ops.tagnn_fast.session_graph(torch.tensor([3, 9, 3]), torch.tensor([0, 3, 3]), None)
    assert [graph[0].tolist(), graph[4].tolist(), graph[7].tolist()] == [[3, 9, 0], [[1, 0, 0], [1, 0, 0]], [2, 0]]
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The package's library under other paths, and one that differs in its version only."""
    folder = tmp_path_factory.mktemp("libraries")
    content = LIBRARY.read_bytes()
    assert content.count(VERSION.encode()) == 1
    contents = {"one": content, "two": content, "other": content.replace(VERSION.encode(), OTHER_VERSION.encode())}
    for name, value in contents.items():
        (folder / name).mkdir()
        (folder / name / LIBRARY.name).write_bytes(value)
    return {"package": "package", **{name: str(folder / name / LIBRARY.name) for name in contents}}


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # -P: where a build outside the source tree is tested, not the package in the source tree.
    command = [sys.executable, "-P", "-c", ANSWER + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=60)


def test_version_tells_builds_apart() -> None:
    assert re.fullmatch(re.escape(tagnn_fast.__version__) + r"\+[0-9a-f]{12}", VERSION)


def test_import_without_the_compiler() -> None:
    """Which takes longer than all else; what is written by hand for that is what PyTorch writes."""
    done = run("import sys, tagnn_fast, tagnn_fast.cli\nassert 'torch._dynamo' not in sys.modules")
    assert done.returncode == 0, done.stderr

    @torch.compiler.assume_constant_result
    def marked() -> None:
        pass

    assert vars(marked).items() <= vars(library.precision).items()
    assert vars(marked)


def test_one_registry_in_a_process() -> None:
    """What decides is a GNU unique symbol, which the loader keeps to one even among RTLD_LOCAL libraries."""
    symbols = subprocess.run(["nm", "--dynamic", LIBRARY], capture_output=True, text=True, check=True).stdout
    unique = re.findall(r"^\S+ u (tagnn_fast_\w+)$", symbols, re.MULTILINE)
    assert unique == [
        "tagnn_fast_capability_in_use",
        "tagnn_fast_registered_libraries",
        "tagnn_fast_registered_version",
    ]
    dynamic = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert "NODELETE" in dynamic


@pytest.mark.parametrize(
    ("order", "mode"),
    [(("one", "two", "package"), "DEFAULT_MODE"), (("package", "one"), "RTLD_GLOBAL")],
)
def test_copies_of_one_version(order: tuple[str, ...], mode: str, libraries: dict[str, str]) -> None:
    code = f"""
for name in sys.argv[1:]:
    load(name, ctypes.{mode})
    check_answer()
import tagnn_fast
tagnn_fast.set_cpu_capability("baseline")
capabilities = [ctypes.CDLL(name).tagnn_fast_cpu_capability for name in sys.argv[1:] if name != "package"]
for capability in capabilities:  # of the ops that are registered, whichever copy is asked
    capability.restype = ctypes.c_char_p
    assert capability() == b"baseline"
"""
    done = run(code, *(libraries[name] for name in order))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("first", "second", "mode"),
    [
        ("package", "other", "DEFAULT_MODE"),
        ("other", "package", "DEFAULT_MODE"),
        ("one", "other", "RTLD_GLOBAL"),
    ],
)
def test_another_version_is_refused(first: str, second: str, mode: str, libraries: dict[str, str]) -> None:
    code = f"""
first, second = sys.argv[1:]
load(first, ctypes.{mode})
for _ in range(2):
    try:
        load(second, ctypes.{mode})
    except (ImportError, OSError) as error:
        print(error.__cause__ or error)
    check_answer()  # those that are registered go on
assert second == "package" or second not in open("/proc/self/maps").read()
load(second)
"""
    done = run(code, libraries[first], libraries[second])
    assert done.returncode == 1, done.stderr
    paths = {name: str(LIBRARY) if name == "package" else libraries[name] for name in (first, second)}
    versions = {name: OTHER_VERSION if name == "other" else VERSION for name in (first, second)}
    message = (
        f"{paths[second]}: expected ops of version {versions[first]}, which {paths[first]} registered in this process, "
        f"got version {versions[second]}\n"
    )
    assert done.stdout.replace("tagnn_fast: ", "") == 2 * message
    assert message in done.stderr  # the exception's, not of the loader's death


def test_ops_without_a_version_are_refused(libraries: dict[str, str]) -> None:
    """As libraries from before versions were told apart registered them."""
    code = """
old = torch.library.Library("tagnn_fast", "DEF")
old.define("prefix_batch(Tensor clicks) -> Tensor")
old.impl("prefix_batch", torch.neg, "CPU")
load(sys.argv[1])
assert torch.ops.tagnn_fast.prefix_batch(torch.ones(1)).item() == -1
assert not hasattr(torch.ops.tagnn_fast, "session_graph")
import tagnn_fast
"""
    done = run(code, libraries["one"])
    message = f"expected ops of version {VERSION}, got those of an older library in this process\n"
    assert f"tagnn_fast: {libraries['one']}: {message}" in done.stderr
    assert done.stderr.endswith(f"ImportError: tagnn_fast: {LIBRARY}: {message}")


PROGRAM = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char** names) {
  for (int i = 1; i < count; ++i) {
    void* library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
      puts(dlerror());
      continue;
    }
    const char* (*version)(void) = dlsym(library, "tagnn_fast_version");
    const char* (*error)(void) = dlsym(library, "tagnn_fast_load_error");
    printf("%s %s\n", version(), error() == NULL ? "-" : error());
    dlclose(library);
  }
}
"""


def test_without_python(tmp_path: Path, libraries: dict[str, str]) -> None:
    """dlopen itself fails for another version, and what is registered outlives dlclose."""
    if shutil.which("gcc") is None:
        pytest.skip("expected gcc on PATH")
    (tmp_path / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "program.c", "-o", "program", "-ldl"], cwd=tmp_path, check=True)
    names = [libraries[name] for name in ("one", "other", "two", "one", "other")]
    environment = os.environ | {"LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib")}
    done = subprocess.run([tmp_path / "program", *names], capture_output=True, text=True, env=environment)
    refused = (
        f"{libraries['other']}: expected ops of version {VERSION}, which {libraries['one']} registered in this "
        f"process, got version {OTHER_VERSION}"
    )
    loaded = f"{VERSION} -"
    assert done.stdout.splitlines() == [loaded, refused, loaded, loaded, refused]
    assert (done.returncode, done.stderr) == (0, "")


TOGETHER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char** names) {
  for (int i = 1; i < count; ++i) {
    const char* (*error)(void) = dlsym(dlopen(names[i], RTLD_NOW | RTLD_NOLOAD), "tagnn_fast_load_error");
    printf("%s\n", error() == NULL ? "registered" : error());
  }
}
"""


def test_both_linked_to_one_program(tmp_path: Path, libraries: dict[str, str]) -> None:
    """Where the loader maps both before either is initialised, one registers; the other says why it did not."""
    if shutil.which("gcc") is None:
        pytest.skip("expected gcc on PATH")
    (tmp_path / "program.c").write_text(TOGETHER)
    torch_libraries = Path(torch.__file__).parent / "lib"
    names = [libraries["one"], libraries["other"]]
    command = ["gcc", "program.c", "-o", "program", "-Wl,--no-as-needed", *names, f"-Wl,-rpath-link,{torch_libraries}"]
    subprocess.run([*command, "-Wl,--allow-shlib-undefined"], cwd=tmp_path, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(torch_libraries)}
    done = subprocess.run([tmp_path / "program", *names], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "registered" in (first, second)
    refused, registered = (names[1], names[0]) if first == "registered" else (names[0], names[1])
    message = second if first == "registered" else first
    version = {names[0]: VERSION, names[1]: OTHER_VERSION}
    assert message == (
        f"expected ops of version {version[registered]}, which {registered} registered in this process, "
        f"got version {version[refused]}"
    )
    assert done.stderr == f"tagnn_fast: {refused}: {message}\n"


FORK = """
import multiprocessing, os, signal
load(sys.argv[1])
torch.set_num_threads(2)
items, offsets, matrix = torch.arange(40_000) % 977 + 1, torch.arange(0, 40_001, 20), torch.rand(400, 400)
def answer():
    signal.alarm(20)  # a deadlock ends by itself
    graph = torch.ops.tagnn_fast.session_graph(items, offsets, None)
    return [int(part.sum()) for part in graph] + [float((matrix @ matrix).sum()), float(matrix.exp().sum())]
expected = answer()
threads = len(os.listdir("/proc/self/task"))
for _ in range(2):
    child = os.fork()
    if child == 0:
        os._exit(0 if answer() == expected and len(os.listdir("/proc/self/task")) > 1 else 1)
    assert answer() == expected
    assert os.waitpid(child, 0)[1] == 0
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.starmap(answer, [()] * 4) == [expected] * 4
assert threads > 1
"""


def test_fork_after_use(libraries: dict[str, str]) -> None:
    """A service that answers once and then forks its workers: all of them answer, with threads of their own."""
    # Newer Pythons warn of every fork of a process with threads.
    done = run(FORK, libraries["one"], OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (done.returncode, done.stderr) == (0, "")
