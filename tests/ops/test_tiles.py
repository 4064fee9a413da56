"""The walk over AMX's tiles, with tiles emulated in plain C++, against sums over numbers laid out one by one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

COMPILER = shlex.split(os.environ.get("CXX", "g++"))

AGAINST_PLAIN_SUMS = """
#include <cmath>
#include <cstdio>
#include <vector>
#include "bfloat16_products.h"
using namespace tagnn_fast::cpu;

// Numbers of up to 8 bits, which bfloat16 holds, and sums of which float32 does.
int number(int64_t row, int64_t column, int salt) { return (row * 31 + column * 17 + salt) % 127 - 63; }
uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> 16;
}

template <int kPlanes>
int wrong(int64_t rows, int64_t columns, int64_t depth) {
  const int64_t all_rows = filled_up(rows, 16), all_columns = filled_up(columns, 16);
  std::vector<uint16_t> lines(kPlanes * plane_size(depth, rows)), pairs(kPlanes * plane_size(depth, columns));
  for (int plane = 0; plane < kPlanes; ++plane) {
    const float scale = plane == 0 ? 1 : 0x1p-9f;
    for (int64_t step = 0; step < depth; ++step) {
      for (int64_t row = 0; row < rows; ++row) {
        lines[plane * plane_size(depth, rows) + (step / 32 * all_rows + row) * 32 + step % 32] =
            rounded(scale * number(row, step, plane));
      }
      for (int64_t column = 0; column < columns; ++column) {
        pairs[plane * plane_size(depth, columns) + (step / 2 * all_columns + column) * 2 + step % 2] =
            rounded(scale * number(step, column, 5 + plane));
      }
    }
  }
  int count = 0;
  for (const bool add : {false, true}) {
    std::vector<float> c(all_rows * all_columns, 3);
    {
      const ProductScope scope;
      multiply<kPlanes>(
          depth, {lines.data(), rows, plane_size(depth, rows)}, {pairs.data(), columns, plane_size(depth, columns)},
          c.data(), all_columns, add);
    }
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        double expected = add ? 3 : 0;
        for (int64_t step = 0; step < depth; ++step) {
          expected += number(row, step, 0) * number(step, column, 5);
          if (kPlanes == 1) continue;
          expected += number(row, step, 0) * number(step, column, 6) * 0x1p-9;
          expected += number(row, step, 1) * number(step, column, 5) * 0x1p-9;
        }
        count += std::abs(c[row * all_columns + column] - expected) > (kPlanes == 1 ? 0 : 0.25);
      }
    }
  }
  return count;
}

int main() {
  int count = 0;
  for (int64_t rows : {1, 15, 16, 17, 32, 33, 96}) {
    for (int64_t columns : {1, 16, 31, 33, 48, 96}) {
      for (int64_t depth : {1, 2, 31, 32, 33, 100}) {
        count += wrong<1>(rows, columns, depth) + wrong<2>(rows, columns, depth);
      }
    }
  }
  std::printf("%d", count);
}
"""


@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"needs a C++ compiler, {COMPILER[0]}")
def test_walk_over_tiles(tmp_path: Path) -> None:
    (tmp_path / "walk.cpp").write_text(AGAINST_PLAIN_SUMS)
    options = ["-std=c++17", "-O2", "-DTAGNN_FAST_TILES", "-DTAGNN_FAST_EMULATED_TILES", "-DTAGNN_FAST_CAPABILITY=amx"]
    include = ["-I", str(ROOT / "csrc" / "cpu")]
    subprocess.run(
        [*COMPILER, *options, *include, str(tmp_path / "walk.cpp"), "-o", str(tmp_path / "walk")], check=True
    )
    result = subprocess.run([tmp_path / "walk"], check=True, capture_output=True, text=True)
    assert result.stdout == "0"
