// Operands of bfloat16 products, laid out alike for vectors and for tiles (AMX).
//
// A product sums over depth. Its left operand lies in lines: for each 32 steps of depth, one cache line for each of its
// rows. Its right operand lies in pairs: for each two steps of depth, the two numbers of each of its columns side by
// side. Both are filled up with zeros, lines to 16 rows and 32 steps, pairs to 16 columns and 32 steps, so that tiles
// are always full.
//
// A float32 is one bfloat16 number, or the sum of two: then there are two planes of each operand, one after the other,
// the second with what the first leaves. What is no finite number has zero there.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

constexpr int64_t kLineSteps = 32;

constexpr int64_t filled_up(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

constexpr int64_t plane_size(int64_t depth, int64_t across) {
  return filled_up(depth, kLineSteps) * filled_up(across, 16);
}

struct BFloat16Operand {
  const uint16_t* first;
  int64_t across;  // rows of lines, columns of pairs, without the filling
  int64_t plane;   // how far the second plane lies after the first
};

#if defined(__AVX512BF16__)

// 32 bfloat16 numbers.
using Halves = __m512i;

inline void store_line(uint16_t* to, Halves line) { _mm512_storeu_si512(to, line); }

// Rounded to nearest, ties to even; denormals are zeros.
inline Halves rounded(Vector<float> first, Vector<float> second) {
  return (Halves)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

// What a bfloat16 number leaves of a float32.
inline Vector<float> left_over(Vector<float> value) {
  typedef uint16_t UpperHalves __attribute__((vector_size(32)));
  const auto upper = (UpperHalves)_mm512_cvtneps_pbh((__m512)value);
  const Bits<float> kept = __builtin_convertvector(upper, Bits<float>) << 16;
  constexpr int32_t kNotFinite = 0x7F800000;
  return (kept & kNotFinite) == kNotFinite ? Vector<float>{} : value - (Vector<float>)kept;
}

// The first 16 numbers of each of two lines, side by side; and the last.
inline Halves first_pairs(Halves a, Halves b) {
  alignas(64) static constexpr uint16_t kLanes[] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  return _mm512_permutex2var_epi16(a, _mm512_load_si512(kLanes), b);
}
inline Halves last_pairs(Halves a, Halves b) {
  alignas(64) static constexpr uint16_t kLanes[] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                                    24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  return _mm512_permutex2var_epi16(a, _mm512_load_si512(kLanes), b);
}

// Up to 16 values, zeros after them.
inline Vector<float> load_some(const float* from, int64_t count) {
  const __mmask16 mask = count >= 16 ? 0xFFFF : count <= 0 ? 0 : (1u << count) - 1;
  return (Vector<float>)_mm512_maskz_loadu_ps(mask, from);
}

// Up to 32 values of one plane.
inline Halves load_plane(const float* from, int64_t count, int plane) {
  Vector<float> first = load_some(from, count), second = load_some(from + 16, count - 16);
  if (plane > 0) {
    first = left_over(first);
    second = left_over(second);
  }
  return rounded(first, second);
}
inline Halves load_plane(const uint16_t* from, int64_t count, int plane) {
  const __mmask32 mask = count >= 32 ? 0xFFFFFFFF : count <= 0 ? 0 : (1u << count) - 1;
  return plane > 0 ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(mask, from);
}

// Exchanges rows and lanes of 16 lines as of pairs.
inline void transpose_pairs(Halves (&square)[16]) {
  Vector<float> values[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) values[i] = (Vector<float>)square[i];
  transpose_square<float>(values);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) square[i] = (Halves)values[i];
}

#endif

}  // namespace
}  // namespace tagnn_fast::cpu
