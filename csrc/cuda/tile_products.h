// Products of tiles in shared memory by a block of 256 threads: in exact float32 or float64, or on tensor cores from
// operands rounded to tf32 or bfloat16, summed in float32 (mma.sync, sm_80 and later).
#pragma once

#include "device.h"

namespace tagnn_fast::cuda {

constexpr int kBlockThreads = 256;
constexpr int kTileRows = 64;

// Operands and sums of one kind of arithmetic. store() rounds a value to what products are made of; exponentials need
// be no better than the products.
template <class T>
struct Exact {
  using Value = T;
  using Stored = T;
  static constexpr int kPadding = 4;
  __host__ __device__ static Stored store(T value) { return value; }
  __device__ static T exponential(T x) { return cuda::exponential(x); }
};

struct TensorFloat32 {
  using Value = float;
  using Stored = float;
  static constexpr int kPadding = 4;
  // To 10 bits of fraction, halves away from zero, as cvt.rna.tf32 does.
  __device__ static Stored store(float value) {
    const uint32_t bits = __float_as_uint(value);
    if (value != value) return __uint_as_float(bits | 0x400000u);  // in the bits that products look at, too
    if ((bits & 0x7F800000u) == 0x7F800000u) return value;
    return __uint_as_float((bits + 0x1000u) & 0xFFFFE000u);
  }
  __device__ static float exponential(float x) { return fast_exponential(x); }
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
  __device__ static float exponential(float x) { return fast_exponential(x); }
};

__device__ inline float to_value(uint16_t bfloat16) { return __uint_as_float(static_cast<uint32_t>(bfloat16) << 16); }
__device__ inline float to_value(float value) { return value; }
__device__ inline double to_value(double value) { return value; }

// A matrix in shared memory. Element (i, k), where k counts what a product sums over, lies at data[i * step + k], or,
// of one that lies across, at data[k * step + i]. Rows of `step` elements begin at multiples of 16 bytes.
template <class Element, bool kAcross>
struct Operand {
  const Element* data;
  int step;
  __device__ Element at(int i, int k) const { return kAcross ? data[k * step + i] : data[i * step + k]; }
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

// Four neighbouring elements of shared memory; floats begin at a multiple of 16 bytes.
template <class T>
struct alignas(sizeof(T) == sizeof(float) ? 16 : sizeof(T)) Four {
  T values[4];
};
template <class T>
__device__ inline Four<T> read_four(const T* from) {
  return *reinterpret_cast<const Four<T>*>(from);
}

// sum(i, j) += sum over k of a(i, k) b(j, k), k < size, a multiple of 16; exact arithmetic, k in order.
template <class Mode, int kWidth, class T, bool kAcrossA, bool kAcrossB>
__device__ inline void multiply(
    TileSum<Mode, kWidth>& sum, const Operand<T, kAcrossA>& a, const Operand<T, kAcrossB>& b, int size) {
  const int row = Layout<Mode>::row(0);
  for (int k = 0; k < size; k += 4) {
    Four<T> x[4];  // of each k, or of each row
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = read_four(a.data + (kAcrossA ? (k + i) * a.step + row : (row + i) * a.step + k));
    }
#pragma unroll
    for (int j = 0; j < TileSum<Mode, kWidth>::kGroups; ++j) {
      const int column = Layout<Mode>::column(kWidth, j, 0);
      Four<T> y;
      if constexpr (kAcrossB) {
#pragma unroll
        for (int c = 0; c < 4; ++c) y.values[c] = b.at(column, k + c);
      } else {
        y = read_four(b.data + column * b.step + k);
      }
#pragma unroll
      for (int c = 0; c < 4; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sum.values[j][i] += (kAcrossA ? x[c].values[i] : x[i].values[c]) * y.values[c];
        }
      }
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

// The word of this lane in an 8 x 8 matrix of two-byte words, or an 8 x 4 one of four-byte ones, that begins at (i, k);
// i counts its row.
template <bool kAcross>
__device__ inline uint32_t own_word(const Operand<uint16_t, kAcross>& operand, int i, int k) {
  const int first = k + lane() % 4 * 2;
  return operand.at(i, first) | static_cast<uint32_t>(operand.at(i, first + 1)) << 16;
}
template <bool kAcross>
__device__ inline uint32_t own_word(const Operand<float, kAcross>& operand, int i, int k) {
  return __float_as_uint(operand.at(i, k + lane() % 4));
}

// What ldmatrix gives a lane of up to four 8 x 8 matrices of two-byte words: a row of each is 16 bytes, and lane
// 8 m + r has the address of row r of matrix m.
#if !defined(TAGNN_FAST_EMULATED)
template <bool kTransposed>
__device__ inline void load_matrices(uint32_t (&words)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  }
}
#endif

// Rows [row, row + 16) and two words of k from `k` on, as mma's first operand has them: 16 bytes of k by ldmatrix.
template <class Element, bool kAcross>
__device__ inline void load_rows(uint32_t (&x)[4], const Operand<Element, kAcross>& a, int row, int k) {
  constexpr int kHalf = 16 / sizeof(Element);  // values of k in half of an mma
#if !defined(TAGNN_FAST_EMULATED)
  if constexpr (!kAcross || sizeof(Element) == 2) {
    const int r = lane() % 8, second_rows = lane() / 8 % 2, second_half = lane() / 16;
    const Element* from = kAcross ? a.data + (k + second_half * 8 + r) * a.step + row + second_rows * 8
                                  : a.data + (row + second_rows * 8 + r) * a.step + k + second_half * kHalf;
    load_matrices<kAcross>(x, from);
    return;
  }
#endif
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = own_word(a, row + i % 2 * 8 + lane() / 4, k + i / 2 * kHalf);
}

// The second operand of two mmas: columns [column, column + 16), each mma with 8 of them.
template <class Element, bool kAcross>
__device__ inline void load_columns(uint32_t (&y)[4], const Operand<Element, kAcross>& b, int column, int k) {
  constexpr int kHalf = 16 / sizeof(Element);
#if !defined(TAGNN_FAST_EMULATED)
  if constexpr (!kAcross || sizeof(Element) == 2) {
    const int r = lane() % 8, second_half = lane() / 8 % 2, second_columns = lane() / 16;
    const Element* from = kAcross ? b.data + (k + second_half * 8 + r) * b.step + column + second_columns * 8
                                  : b.data + (column + second_columns * 8 + r) * b.step + k + second_half * kHalf;
    load_matrices<kAcross>(y, from);
    return;
  }
#endif
#pragma unroll
  for (int i = 0; i < 4; ++i) y[i] = own_word(b, column + i / 2 * 8 + lane() / 4, k + i % 2 * kHalf);
}

__device__ inline void multiply_accumulate(
    TensorFloat32, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply_accumulate_tf32(d, a, b);
}
__device__ inline void multiply_accumulate(BFloat16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply_accumulate_bfloat16(d, a, b);
}

// The same on tensor cores.
template <class Mode, int kWidth, bool kAcrossA, bool kAcrossB>
__device__ inline void multiply_on_tensor_cores(
    TileSum<Mode, kWidth>& sum, const Operand<typename Mode::Stored, kAcrossA>& a,
    const Operand<typename Mode::Stored, kAcrossB>& b, int size) {
  constexpr int kGroups = TileSum<Mode, kWidth>::kGroups;
  const int row = warp() / 2 * 16, column = warp() % 2 * (kWidth / 2);
  for (int k = 0; k < size; k += 32 / sizeof(typename Mode::Stored)) {
    uint32_t x[4];
    load_rows(x, a, row, k);
#pragma unroll
    for (int j = 0; j < kGroups; j += 2) {
      // Of an odd number of groups, the last two are loaded once more.
      const int first = j + 1 < kGroups || kGroups == 1 ? j : j - 1;
      uint32_t y[4];
      load_columns(y, b, column + first * 8, k);
      if (first == j) multiply_accumulate(Mode(), sum.values[j], x, {y[0], y[1]});
      if (j + 1 < kGroups || first < j) multiply_accumulate(Mode(), sum.values[first + 1], x, {y[2], y[3]});
    }
  }
}

template <int kWidth, bool kAcrossA, bool kAcrossB>
__device__ inline void multiply(
    TileSum<TensorFloat32, kWidth>& sum, const Operand<float, kAcrossA>& a, const Operand<float, kAcrossB>& b,
    int size) {
  multiply_on_tensor_cores(sum, a, b, size);
}
template <int kWidth, bool kAcrossA, bool kAcrossB>
__device__ inline void multiply(
    TileSum<BFloat16, kWidth>& sum, const Operand<uint16_t, kAcrossA>& a, const Operand<uint16_t, kAcrossB>& b,
    int size) {
  multiply_on_tensor_cores(sum, a, b, size);
}

// 16 bytes from device to shared memory, or zeros; there after wait_for_copies() and a barrier.
__device__ inline void copy_later(void* to, const void* from, bool inside) {
#if defined(TAGNN_FAST_EMULATED)
  if (inside) std::memcpy(to, from, 16);
  else std::memset(to, 0, 16);
#else
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
      "l"(from), "r"(inside ? 16 : 0)
      : "memory");
#endif
}
__device__ inline void wait_for_copies() {
#if !defined(TAGNN_FAST_EMULATED)
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

}  // namespace tagnn_fast::cuda
