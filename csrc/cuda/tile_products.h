// Products of tiles in shared memory by a block of 256 threads: in exact float32 or float64, or on tensor cores from
// operands rounded to tf32 or bfloat16, summed in float32 (mma.sync, sm_80 and later).
#pragma once

#include "device.h"

namespace tagnn_fast::cuda {

constexpr int kBlockThreads = 256;
constexpr int kTileRows = 64;

// Operands and sums of one kind of arithmetic. store() rounds a value to what products are made of.
template <class T>
struct Exact {
  using Value = T;
  using Stored = T;
  static constexpr int kPadding = 4;
  __host__ __device__ static Stored store(T value) { return value; }
};

struct TensorFloat32 {
  using Value = float;
  using Stored = float;
  static constexpr int kPadding = 4;
  // To 10 bits of fraction, halves away from zero, as cvt.rna.tf32 does.
  __device__ static Stored store(float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7F800000u) == 0x7F800000u) return value;  // infinite, or not a number
    return __uint_as_float((bits + 0x1000u) & 0xFFFFE000u);
  }
};

struct BFloat16 {
  using Value = float;
  using Stored = uint16_t;
  static constexpr int kPadding = 8;
  // To 7 bits of fraction, halves to even.
  __device__ static Stored store(float value) {
    const uint32_t bits = __float_as_uint(value);
    if (value != value) return (bits >> 16) | 0x40u;
    return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  }
};

__device__ inline float to_value(uint16_t bfloat16) { return __uint_as_float(static_cast<uint32_t>(bfloat16) << 16); }
__device__ inline float to_value(float value) { return value; }
__device__ inline double to_value(double value) { return value; }

// A matrix in shared memory, element (i, k) at data[i * step + k * inner_step]; k counts what a product sums over.
template <class Element>
struct Operand {
  const Element* data;
  int step, inner_step;
  __device__ Element at(int i, int k) const { return data[i * step + k * inner_step]; }
};

// Which elements of a (kTileRows, width) tile a thread holds: number i, 0 to 3, of group j, 0 to width / 16 - 1.
template <class Mode>
struct Layout {  // 16 x 16 threads, each with 4 neighbouring rows and every 16th column
  __device__ static int row(int i) { return threadIdx.x / 16 * 4 + i; }
  __device__ static int column(int, int j, int) { return threadIdx.x % 16 + 16 * j; }
};

struct TensorCoreLayout {  // 4 x 2 warps, each with 16 rows and half of the columns; inside, as mma.m16n8 has it
  __device__ static int row(int i) { return warp() / 2 * 16 + lane() / 4 + i / 2 * 8; }
  __device__ static int column(int width, int j, int i) {
    return warp() % 2 * (width / 2) + j * 8 + lane() % 4 * 2 + i % 2;
  }
};
template <>
struct Layout<TensorFloat32> : TensorCoreLayout {};
template <>
struct Layout<BFloat16> : TensorCoreLayout {};

// This thread's part of a (kTileRows, kWidth) sum.
template <class Mode, int kWidth>
struct TileSum {
  using Value = typename Mode::Value;
  static constexpr int kGroups = kWidth / 16;
  Value values[kGroups][4] = {};

  // Calls visit(row, column, value) for each element.
  template <class Visit>
  __device__ void for_each(const Visit& visit) {
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) visit(Layout<Mode>::row(i), Layout<Mode>::column(kWidth, j, i), values[j][i]);
    }
  }
};

// sum(i, j) += sum over k of a(i, k) b(j, k), k < size; exact arithmetic.
template <class Mode, int kWidth, class A, class B>
__device__ inline void multiply(TileSum<Mode, kWidth>& sum, const Operand<A>& a, const Operand<B>& b, int size) {
  using T = typename Mode::Value;
  for (int k = 0; k < size; ++k) {
    T x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = a.at(Layout<Mode>::row(i), k);
#pragma unroll
    for (int j = 0; j < TileSum<Mode, kWidth>::kGroups; ++j) {
      const T y = b.at(Layout<Mode>::column(kWidth, j, 0), k);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.values[j][i] += x[i] * y;
    }
  }
}

// d(i, j) += sum over k of a(i, k) b(k, j) by a warp: 16 x 8 from tf32, 8 values of k.
__device__ inline void multiply_accumulate_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(TAGNN_FAST_EMULATED)
  emulation::multiply_accumulate<8>(d, a, b, [](const uint32_t* words, int k) { return __uint_as_float(words[k]); });
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The same from bfloat16, 16 values of k, two in a word.
__device__ inline void multiply_accumulate_bfloat16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(TAGNN_FAST_EMULATED)
  emulation::multiply_accumulate<16>(d, a, b, [](const uint32_t* words, int k) {
    return to_value(static_cast<uint16_t>(words[k / 2] >> (k % 2 * 16)));
  });
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

template <int kWidth>
__device__ inline void multiply(
    TileSum<TensorFloat32, kWidth>& sum, const Operand<float>& a, const Operand<float>& b, int size) {
  const int row = Layout<TensorFloat32>::row(0), first = lane() % 4;
  const int column = warp() % 2 * (kWidth / 2) + lane() / 4;
  for (int k = first; k < size; k += 8) {
    const uint32_t x[4] = {
        __float_as_uint(a.at(row, k)), __float_as_uint(a.at(row + 8, k)), __float_as_uint(a.at(row, k + 4)),
        __float_as_uint(a.at(row + 8, k + 4))};
#pragma unroll
    for (int j = 0; j < TileSum<TensorFloat32, kWidth>::kGroups; ++j) {
      const uint32_t y[2] = {__float_as_uint(b.at(column + j * 8, k)), __float_as_uint(b.at(column + j * 8, k + 4))};
      multiply_accumulate_tf32(sum.values[j], x, y);
    }
  }
}

__device__ inline uint32_t pair(const Operand<uint16_t>& operand, int i, int k) {
  if (operand.inner_step == 1) return *reinterpret_cast<const uint32_t*>(operand.data + i * operand.step + k);
  return operand.at(i, k) | static_cast<uint32_t>(operand.at(i, k + 1)) << 16;
}

template <int kWidth>
__device__ inline void multiply(
    TileSum<BFloat16, kWidth>& sum, const Operand<uint16_t>& a, const Operand<uint16_t>& b, int size) {
  const int row = Layout<BFloat16>::row(0), first = lane() % 4 * 2;
  const int column = warp() % 2 * (kWidth / 2) + lane() / 4;
  for (int k = first; k < size; k += 16) {
    const uint32_t x[4] = {pair(a, row, k), pair(a, row + 8, k), pair(a, row, k + 8), pair(a, row + 8, k + 8)};
#pragma unroll
    for (int j = 0; j < TileSum<BFloat16, kWidth>::kGroups; ++j) {
      const uint32_t y[2] = {pair(b, column + j * 8, k), pair(b, column + j * 8, k + 8)};
      multiply_accumulate_bfloat16(sum.values[j], x, y);
    }
  }
}

}  // namespace tagnn_fast::cuda
