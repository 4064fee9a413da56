// Products of bfloat16 operands, summed in float32: c (rows, columns) = lines · pairs, or added to c. With two planes,
// three products of planes: what is left out is 2^-16 of the whole or less.
//
// Not the sums of float32 products of rounded numbers to the bit: the instructions take denormals for zeros and have an
// order of their own. The same operands give the same bits on the same kind of processor.
#pragma once

#include "bfloat16_operands.h"
#include "target_attention_items.h"
#if defined(TAGNN_FAST_TILES)
#include "tiles.h"
#endif

namespace tagnn_fast::cpu {
namespace {

#if defined(TAGNN_FAST_TILES)

using ProductScope = TilesInUse;

// A block of up to 2 x 2 tiles. Both c and the operands have room for full tiles.
template <int kPlanes, int kDown, int kAcross>
inline void multiply_block(
    int64_t depth, const uint16_t* lines, int64_t line_step, int64_t line_plane, const uint16_t* pairs,
    int64_t pair_step, int64_t pair_plane, float* c, int64_t c_step, bool add) {
  constexpr int64_t kLines = kTileSize * kLineSteps, kPairs = 2 * kTileSize;
  const int64_t c_bytes = c_step * sizeof(float), pair_bytes = pair_step * sizeof(uint16_t);
  float* below = c + kTileSize * c_step;
  if (add) {
    load_tile<0>(c, c_bytes);
    if constexpr (kAcross > 1) load_tile<1>(c + kTileSize, c_bytes);
    if constexpr (kDown > 1) load_tile<2>(below, c_bytes);
    if constexpr (kDown > 1 && kAcross > 1) load_tile<3>(below + kTileSize, c_bytes);
  } else {
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    zero_tile<3>();
  }
  for (int product = 0; product < (kPlanes == 1 ? 1 : 3); ++product) {
    const uint16_t *a = lines + (product == 2) * line_plane, *b = pairs + (product == 1) * pair_plane;
    for (int64_t step = 0; step < depth; step += kLineSteps, a += line_step, b += kTileSize * pair_step) {
      load_tile<4>(a, kLineSteps * sizeof(uint16_t));
      load_tile<6>(b, pair_bytes);
      multiply_tiles<0, 4, 6>();
      if constexpr (kAcross > 1) {
        load_tile<7>(b + kPairs, pair_bytes);
        multiply_tiles<1, 4, 7>();
      }
      if constexpr (kDown > 1) {
        load_tile<5>(a + kLines, kLineSteps * sizeof(uint16_t));
        multiply_tiles<2, 5, 6>();
      }
      if constexpr (kDown > 1 && kAcross > 1) multiply_tiles<3, 5, 7>();
    }
  }
  store_tile<0>(c, c_bytes);
  if constexpr (kAcross > 1) store_tile<1>(c + kTileSize, c_bytes);
  if constexpr (kDown > 1) store_tile<2>(below, c_bytes);
  if constexpr (kDown > 1 && kAcross > 1) store_tile<3>(below + kTileSize, c_bytes);
}

// Rows and columns are rounded up to whole tiles.
template <int kPlanes>
inline void multiply(
    int64_t depth, const BFloat16Operand& lines, const BFloat16Operand& pairs, float* c, int64_t c_step, bool add) {
  const int64_t rows = filled_up(lines.across, kTileSize), columns = filled_up(pairs.across, kTileSize);
  const int64_t line_step = rows * kLineSteps, pair_step = 2 * columns;
  for (int64_t column = 0; column < columns; column += 2 * kTileSize) {
    for (int64_t row = 0; row < rows; row += 2 * kTileSize) {
      const auto multiply = [&](auto block) {
        block(
            depth, lines.first + row * kLineSteps, line_step, lines.plane, pairs.first + 2 * column, pair_step,
            pairs.plane, c + row * c_step + column, c_step, add);
      };
      const bool down = row + kTileSize < rows, across = column + kTileSize < columns;
      if (down && across) multiply(multiply_block<kPlanes, 2, 2>);
      else if (down) multiply(multiply_block<kPlanes, 2, 1>);
      else if (across) multiply(multiply_block<kPlanes, 1, 2>);
      else multiply(multiply_block<kPlanes, 1, 1>);
    }
  }
}

#else

struct ProductScope {
  ProductScope() {}  // what is not used otherwise would be a warning
};

// 1 to kDown rows of kAcross vectors.
template <int kAcross, int kDown = 8>
inline void multiply_block(
    int64_t rows, int64_t depth, const uint16_t* lines, int64_t line_step, const uint16_t* pairs, int64_t pair_step,
    float* c, int64_t c_step, bool add) {
  if constexpr (kDown > 1) {
    if (rows < kDown) {
      return multiply_block<kAcross, kDown - 1>(rows, depth, lines, line_step, pairs, pair_step, c, c_step, add);
    }
  }
  __m512 sums[kDown][kAcross];
#pragma GCC unroll 8
  for (int i = 0; i < kDown; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kAcross; ++v) sums[i][v] = add ? _mm512_loadu_ps(c + i * c_step + v * 16) : _mm512_setzero_ps();
  }
  for (int64_t step = 0; step < depth; step += kLineSteps, lines += line_step) {
    const int64_t line_end = smaller(kLineSteps, depth - step);
    for (int64_t k = 0; k < line_end; k += 2, pairs += pair_step) {
      __m512bh right[kAcross];
#pragma GCC unroll 4
      for (int v = 0; v < kAcross; ++v) right[v] = (__m512bh)_mm512_loadu_si512(pairs + v * 32);
#pragma GCC unroll 8
      for (int i = 0; i < kDown; ++i) {
        int pair;
        std::memcpy(&pair, lines + i * kLineSteps + k, sizeof pair);
        const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int v = 0; v < kAcross; ++v) sums[i][v] = _mm512_dpbf16_ps(sums[i][v], left, right[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kDown; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kAcross; ++v) _mm512_storeu_ps(c + i * c_step + v * 16, sums[i][v]);
  }
}

// Columns are rounded up to whole vectors.
template <int kPlanes>
inline void multiply(
    int64_t depth, const BFloat16Operand& lines, const BFloat16Operand& pairs, float* c, int64_t c_step, bool add) {
  static_assert(kPlanes == 1);
  constexpr int64_t kRows = 8;
  const int64_t line_step = filled_up(lines.across, 16) * kLineSteps, pair_step = 2 * filled_up(pairs.across, 16);
  int64_t vectors = pair_step / 32;
  for (int64_t column = 0; vectors > 0;) {
    // No single vector is left over: products of one are bound by loads.
    const int64_t width = vectors == 4 ? 2 : smaller(3, vectors);
    for (int64_t row = 0; row < lines.across; row += kRows) {
      const auto multiply = [&](auto block) {
        block(
            smaller(kRows, lines.across - row), depth, lines.first + row * kLineSteps, line_step,
            pairs.first + 2 * column, pair_step, c + row * c_step + column, c_step, add);
      };
      if (width == 3) multiply(multiply_block<3>);
      else if (width == 2) multiply(multiply_block<2>);
      else multiply(multiply_block<1>);
    }
    column += 16 * width;
    vectors -= width;
  }
}

#endif

}  // namespace
}  // namespace tagnn_fast::cpu
