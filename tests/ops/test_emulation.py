"""What the emulation of CUDA finds wrong with a kernel."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

INCLUDE = ROOT / "csrc" / "cuda" / "emulation"
COMPILER = shlex.split(os.environ.get("CXX", "g++"))

READS_WHAT_NOBODY_WROTE = """
#include <cuda_runtime.h>
struct Values { float of_threads[64]; };
int main() {
  using emulation::Block;
  int unwritten = 0, seen = 0, unwritten_dynamic = 0;
  Block::current().run(dim3(3), 64, 64 * sizeof(float), [&] {
    float* values = Block::current().static_shared<Values>().of_threads;
    float* dynamic = reinterpret_cast<float*>(Block::current().dynamic_shared());
    const unsigned own = threadIdx.x;
    unwritten += std::isnan(values[own]);
    unwritten_dynamic += std::isnan(dynamic[own]);
    __syncthreads();
    values[own] = dynamic[own] = own;
    __syncthreads();
    seen += values[63 - own] == 63 - own;
  });
  std::printf("%d %d %d", unwritten, unwritten_dynamic, seen);
}
"""


@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"needs a C++ compiler, {COMPILER[0]}")
def test_shared_memory_is_poisoned_before_each_block(tmp_path: Path) -> None:
    (tmp_path / "kernel.cpp").write_text(READS_WHAT_NOBODY_WROTE)
    command = [*COMPILER, "-std=c++17", "-I", str(INCLUDE), str(tmp_path / "kernel.cpp"), "-o", str(tmp_path / "run")]
    subprocess.run(command, check=True)
    result = subprocess.run([tmp_path / "run"], check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["192", "192", "192"]  # of 3 blocks with 64 threads each
