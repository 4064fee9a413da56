"""The native libraries themselves: what they link, and the choice of instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tagnn_fast
from tagnn_fast import _C
from tests.support import CAPABILITIES

LIBRARY = Path(tagnn_fast.__file__).parent / "libtagnn_fast_ops.so"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
    )


def test_library_knows_no_python() -> None:
    headers = subprocess.run(["readelf", "-d", str(LIBRARY)], capture_output=True, text=True, check=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in headers.splitlines() if "(NEEDED)" in line]
    assert "libtorch_cpu.so" in needed
    assert not [name for name in needed if "python" in name]


def test_library_keeps_to_the_stable_abi() -> None:
    """Of PyTorch it uses C functions alone: no C++ symbol of at::, c10:: or torch:: is undefined."""
    symbols = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", "--demangle", str(LIBRARY)], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split(maxsplit=1)[1] for line in symbols.splitlines()]
    assert [name for name in names if name.startswith(("at::", "c10::", "torch::"))] == []
    assert any("torch_call_dispatcher" in name for name in names)


WITHOUT_PACKAGE = """
import sys, torch
torch.ops.load_library(sys.argv[1])
model = torch.jit.load(sys.argv[2])
assert "tagnn_fast" not in sys.modules and torch.is_grad_enabled()
torch.save(model(torch.tensor([3, 9, 3, 5]), torch.tensor([0, 3, 4])).detach(), sys.argv[3])
"""


def test_library_alone_runs_a_scripted_model(tmp_path: Path) -> None:
    """As in a C++ process: no gradients registered, parameters that require them, gradient mode on."""
    torch.manual_seed(0)
    model = tagnn_fast.TAGNNPP(tagnn_fast.ModelConfig(num_items=10, hidden_size=8)).eval()
    torch.jit.save(torch.jit.script(model), tmp_path / "model.pt")
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_PACKAGE, str(LIBRARY)]
    subprocess.run([*command, str(tmp_path / "model.pt"), str(tmp_path / "scores.pt")], check=True, cwd=tmp_path)
    expected = model(torch.tensor([3, 9, 3, 5]), torch.tensor([0, 3, 4]))
    torch.testing.assert_close(torch.load(tmp_path / "scores.pt", weights_only=True), expected.detach())


def test_set_cpu_capability() -> None:
    before = tagnn_fast.cpu_capability()
    for name in CAPABILITIES:
        tagnn_fast.set_cpu_capability(name)
        assert tagnn_fast.cpu_capability() == name
    tagnn_fast.set_cpu_capability(before)
    expected = "^name: expected baseline, avx2, avx512, avx512_bf16 or amx as this machine has it, got 'sse9'$"
    with pytest.raises(ValueError, match=expected):
        tagnn_fast.set_cpu_capability("sse9")
    assert tagnn_fast.cpu_capability() == before


@pytest.mark.parametrize("name", CAPABILITIES)
def test_environment_chooses_the_capability(name: str) -> None:
    code = "import tagnn_fast; print(tagnn_fast.cpu_capability())"
    assert run_python(code, TAGNN_FAST_CPU_CAPABILITY=name).stdout.strip() == name


def test_environment_with_an_unknown_capability() -> None:
    result = run_python("import tagnn_fast; print(tagnn_fast.cpu_capability())", TAGNN_FAST_CPU_CAPABILITY="sse9")
    assert result.stdout.strip() == CAPABILITIES[-1]
    assert "TAGNN_FAST_CPU_CAPABILITY: expected baseline, avx2, avx512, avx512_bf16 or amx" in result.stderr


def test_build_information() -> None:
    information = _C.build_information()
    assert information["version"] == tagnn_fast.__version__
    assert information["sanitized"] == (os.environ.get("TAGNN_FAST_EXPECT_SANITIZED") == "1")
    assert set(information) == {"version", "ops", "compiler", "torch", "cuda", "sanitized"}
