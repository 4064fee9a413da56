// Elementwise functions that compilers turn into vector code: no branches, no calls in float32. Everything has internal
// linkage, so that each instruction set has its own copy (see capability.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../constants.h"

namespace tagnn_fast::cpu {
namespace {

// exp(x) to 2 units in the last place on [-87.3, 88.3]; outside it saturates at the bounds: no denormals, no infinity.
// NaN stays NaN. Cody-Waite reduction by log 2 in two parts, then the polynomial of Cephes' expf.
inline float exponential(float x) {
  x = x < -87.3f ? -87.3f : x;
  x = x > 88.3f ? 88.3f : x;
  constexpr float kRoundToInteger = 12582912.f;  // 1.5 · 2^23: adding it leaves the integer in the low mantissa bits
  const float shifted = x * 1.44269504f + kRoundToInteger;
  const float n = shifted - kRoundToInteger;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (static_cast<uint32_t>(bits) - 0x4B400000u + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}
inline double exponential(double x) { return std::exp(x); }

// Softmax numerator for x = logit − largest logit: below float32's smallest normal number it is zero.
inline float softmax_term(float x) {
  const float e = exponential(x);
  return x < kSmallestExponent ? 0.f : e;
}
inline double softmax_term(double x) { return std::exp(x); }

// Zero where the result would be below float32's smallest normal number: denormals slow every product they enter.
inline float sigmoid(float x) {
  const float result = 1.f / (1.f + exponential(-x));
  return x < kSmallestExponent ? 0.f : result;
}
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Near 0 the Taylor polynomial, since (1 − e)/(1 + e) cancels there.
inline float hyperbolic_tangent(float x) {
  const float magnitude = x < 0.f ? -x : x;
  const float e = exponential(-2.f * magnitude);
  const float large = (1.f - e) / (1.f + e);
  const float square = x * x;
  const float small = magnitude * (1.f - square * (1.f / 3.f - square * (2.f / 15.f)));
  const float result = magnitude < 0.1f ? small : large;
  return x < 0.f ? -result : result;
}
inline double hyperbolic_tangent(double x) { return std::tanh(x); }

// Calls body(column, width) for blocks of columns that cover [0, columns): 16 wide, then 4, then 1. Widths are
// constants, so that loops over them become single vector operations: with widths such as 100, a compiler's own scalar
// loop over what is left costs more than the vectors before it.
template <class Body>
__attribute__((always_inline)) inline void for_columns(int64_t columns, const Body& body) {
  int64_t column = 0;
  for (; column + 16 <= columns; column += 16) body(column, std::integral_constant<int64_t, 16>());
  for (; column + 4 <= columns; column += 4) body(column, std::integral_constant<int64_t, 4>());
  for (; column < columns; ++column) body(column, std::integral_constant<int64_t, 1>());
}

template <class T>
inline T dot(const T* x, const T* y, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

template <class T>
inline void add_scaled(T* __restrict__ y, const T* __restrict__ x, T scale, int64_t n) {
  for_columns(n, [&](int64_t first, auto width) __attribute__((always_inline)) {
#pragma omp simd
    for (int64_t i = first; i < first + width; ++i) y[i] += scale * x[i];
  });
}

template <class T>
inline void fill_zero(T* x, int64_t n) {
  if (n > 0) std::memset(x, 0, n * sizeof(T));
}

}  // namespace
}  // namespace tagnn_fast::cpu
