"""The library of CUDA kernels, compiled and looked into on a machine that may have no GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = "8.0+PTX 9.0a"
FAT_BINARY = (0xBA55ED50).to_bytes(4, "little")
MOST_SPILLED = 320  # bytes; what target attention's gradients keep in local memory would go unnoticed otherwise


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel on one architecture; memory in bytes."""

    name: str
    architecture: str
    registers: int
    spill_stores: int
    spill_loads: int
    shared: int


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The package with CUDA kernels, built from nothing in a folder of its own, and what the compilers said."""
    folder = tmp_path_factory.mktemp("cuda")
    command = [sys.executable, "setup.py", "build", "--build-base", str(folder), "--build-lib", str(folder / "lib")]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TAGNN_FAST_CUDA": "1", "TORCH_CUDA_ARCH_LIST": TARGETS},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == 0, result.stdout[-4000:]
    return folder / "lib", result.stdout


@pytest.fixture(scope="session")
def library(built: tuple[Path, str]) -> Path:
    return built[0] / "tagnn_fast" / "libtagnn_fast_cuda.so"


@pytest.fixture(scope="session")
def kernels(built: tuple[Path, str]) -> list[Kernel]:
    found = re.findall(
        r"Compiling entry function '(\S+)' for '(\S+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers([^\n]*)",
        built[1],
        re.DOTALL,
    )
    listing = "\n".join(name for name, *_ in found)
    plain = subprocess.run(["c++filt"], input=listing, text=True, capture_output=True, check=True).stdout.splitlines()
    rows = []
    for name, (_, architecture, stores, loads, registers, rest) in zip(plain, found, strict=True):
        scopes = r"^void |tagnn_fast::(?:cuda::)?|\(anonymous namespace\)::|_GLOBAL__N_\w+::"
        short = re.sub(scopes, "", name).split("(")[0]
        shared = re.search(r"(\d+) bytes smem", rest)
        rows.append(
            Kernel(short, architecture, int(registers), int(stores), int(loads), int(shared.group(1)) if shared else 0)
        )
    return sorted(rows, key=lambda row: (row.name, row.architecture))


def test_every_kernel_is_compiled_for_every_target(kernels: list[Kernel], library: Path) -> None:
    by_architecture = {
        row.architecture: {k.name for k in kernels if k.architecture == row.architecture} for row in kernels
    }
    assert set(by_architecture) == {"sm_80", "sm_90a"}
    assert by_architecture["sm_80"] == by_architecture["sm_90a"]
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    pattern = r"__global__ void(?: __launch_bounds__\([^)]*\))? (\w+)\("
    declared = {name for path in sources for name in re.findall(pattern, path.read_text())}
    assert "sum_exponentials" in declared
    assert declared <= {name.split("<")[0] for name in by_architecture["sm_80"]}
    assert fat_binary_kinds(library.read_bytes()) == {"code", "PTX"}


def fat_binary_kinds(content: bytes) -> set[str]:
    """What the fat binaries in a library are made of; each is a header, then entries with headers of their own."""
    kinds = set()
    start = content.find(FAT_BINARY)
    while start >= 0:
        header, size = int.from_bytes(content[start + 6 : start + 8], "little"), content[start + 8 : start + 16]
        place, end = start + header, start + header + int.from_bytes(size, "little")
        while place < end:
            kind, _, entry_header = (
                int.from_bytes(content[place + a : place + b], "little") for a, b in ((0, 2), (2, 4), (4, 8))
            )
            kinds.add({1: "PTX", 2: "code"}[kind])
            place += entry_header + int.from_bytes(content[place + 8 : place + 16], "little")
        start = content.find(FAT_BINARY, end)
    return kinds


def test_registers_spills_and_shared_memory(kernels: list[Kernel], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints them, and holds spills to the few that there are: none outside target attention."""
    with capsys.disabled():
        print(f"\n{'kernel':<56} {'target':<7} {'registers':>9} {'spilled, stores/loads':>21} {'shared':>7}")
        for row in kernels:
            spilled = f"{row.spill_stores}/{row.spill_loads}"
            print(f"{row.name[:56]:<56} {row.architecture:<7} {row.registers:>9} {spilled:>21} {row.shared:>7}")
    assert all(row.spill_stores <= MOST_SPILLED for row in kernels)
    spilling = {row.name.split("<")[0] for row in kernels if row.spill_stores}
    assert spilling <= {"collect_best", "sum_exponentials", "sum_item_gradients", "sum_row_gradients", "write_scores"}


def test_undefined_symbols_are_stable_shims(library: Path) -> None:
    """All else is defined within, cudart included, or versioned: the C and C++ runtimes."""
    listing = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", str(library)], text=True, capture_output=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines() if line.split()[0] == "U"]
    foreign = [name for name in names if "@" not in name and not name.startswith(("aoti_torch_", "torch_"))]
    assert foreign == []
    assert names


WITHOUT_GPU = """
import ctypes, os, sys
import torch, tagnn_fast
model = tagnn_fast.TAGNNPP(tagnn_fast.ModelConfig(num_items=10, hidden_size=8)).eval()
assert model(torch.tensor([3, 9, 3, 5]), torch.tensor([0, 3, 4])).isfinite().all()
ctypes.CDLL(sys.argv[1], os.RTLD_NOW)  # as PyTorch loads it: all names are found, or it fails
names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("tagnn_fast::")]
has = torch._C._dispatch_has_kernel_for_dispatch_key
have = {key: {name for name in names if has(name, key)} for key in ("CPU", "CUDA", "CompositeExplicitAutograd")}
of_cpu = "encode_sessions", "item_item_topk", "item_screen", "session_neighbours_topk", "session_repeats"
refuse_others = {"tagnn_fast::" + name for name in of_cpu}  # than the CPU, themselves
assert have["CompositeExplicitAutograd"] == refuse_others, have
assert have["CPU"] and have["CUDA"] == have["CPU"] == set(names) - refuse_others, have
assert tagnn_fast._C.build_information()["cuda"]
version = tagnn_fast.build_information()["ops"]
content, other = open(sys.argv[1], "rb").read(), "9" * len(version)
for name, value in (("copy.so", version), ("other.so", other)):
    open(name, "wb").write(content.replace(version.encode(), value.encode()))
ctypes.CDLL("./copy.so", os.RTLD_NOW)
try:
    ctypes.CDLL("./other.so", os.RTLD_NOW)
except OSError as error:
    assert version in str(error) and other in str(error), error
else:
    raise AssertionError("expected another version to be refused")
"""


def test_every_op_has_a_kernel_and_the_package_works_without_a_gpu(built: tuple[Path, str], library: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(built[0]), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", WITHOUT_GPU, str(library)]
    subprocess.run(command, cwd=built[0], env=environment, check=True)
