// Vectors as wide as the instruction set's registers, by the compiler's vector extension, for any machine.
// Everything has internal linkage, so that each instruction set has its own copy (see capability.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace tagnn_fast::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr bool kManyRegisters = true;  // 32 of them
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr bool kManyRegisters = false;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr bool kManyRegisters = true;
#else
constexpr int kVectorBytes = 16;
constexpr bool kManyRegisters = false;
#endif

template <class T>
struct VectorTypes;
template <>
struct VectorTypes<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorTypes<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef double Unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t Bits __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename VectorTypes<T>::Type;
template <class T>
using Bits = typename VectorTypes<T>::Bits;
template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <class T>
inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorTypes<T>::Unaligned*>(from);
}
template <class T>
inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename VectorTypes<T>::Unaligned*>(to) = value;
}
template <class T>
inline Vector<T> broadcast(T value) {
  return value - Vector<T>{};
}
// The value whose upper half these bits are.
template <class T>
inline T from_bfloat16(uint16_t upper_half) {
  const uint32_t bits = static_cast<uint32_t>(upper_half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
// b where either is NaN.
template <class T>
inline T larger(T a, T b) {
  return a > b ? a : b;
}

// 2^r on [-1/2, 1/2] and the constants of its range reduction; float32: Cephes' polynomial, float64: Taylor's.
template <class T>
struct PowerOfTwo;
template <>
struct PowerOfTwo<float> {
  // 1.5 · 2^23 and the exponent's bias: adding it leaves the biased integer in the low bits.
  static constexpr float kRoundToInteger = 12582912.f + 127.f;
  static constexpr int kMantissaBits = 23;
  static constexpr float kSmallest = -125.f;
  static constexpr float kCoefficients[] = {1.535336188319500e-4f, 1.339887440266574e-3f, 9.618437357674640e-3f,
                                            5.550332471162809e-2f, 2.402264791363012e-1f, 6.931472028550421e-1f};
};
template <>
struct PowerOfTwo<double> {
  static constexpr double kRoundToInteger = 6755399441055744. + 1023.;  // 1.5 · 2^52 and the bias
  static constexpr int kMantissaBits = 52;
  static constexpr double kSmallest = -1020.;
  static constexpr double kCoefficients[] = {1.3691488853904128e-12, 2.5678435993488202e-11, 4.4455382718708116e-10,
                                             7.0549116208011234e-9,  1.0178086009239699e-7,  1.3215486790144307e-6,
                                             1.5252733804059841e-5,  1.5403530393381609e-4,  1.3333558146428443e-3,
                                             9.6181291076284772e-3,  5.5504108664821580e-2,  2.4022650695910071e-1,
                                             6.9314718055994531e-1};
};

// 2^x for x up to 1 or so, to 2 units in the last place; below the smallest normal number's exponent it saturates: no
// denormals. NaN stays NaN.
template <class T>
inline Vector<T> power_of_two(Vector<T> x) {
  using P = PowerOfTwo<T>;
  x = x < P::kSmallest ? broadcast(P::kSmallest) : x;
  const Vector<T> shifted = x + P::kRoundToInteger;
  const Vector<T> r = x - (shifted - P::kRoundToInteger);
  Vector<T> p = broadcast(P::kCoefficients[0]);
  for (unsigned i = 1; i < sizeof(P::kCoefficients) / sizeof(T); ++i) p = p * r + P::kCoefficients[i];
  p = p * r + T(1);
  // A product, not a sum of bits: whatever bits a NaN has, it stays one.
  return p * (Vector<T>)((Bits<T>)shifted << P::kMantissaBits);
}

// 2^x, and zero below `smallest`.
template <class T>
inline Vector<T> power_of_two_above(Vector<T> x, T smallest) {
  return x < smallest ? Vector<T>{} : power_of_two<T>(x);
}

// Lanes of a and b, counted through both, that `lanes` names.
template <class T>
inline Vector<T> shuffle(Vector<T> a, Vector<T> b, Bits<T> lanes) {
#if defined(__clang__)
  Vector<T> result;
  for (int l = 0; l < kLanes<T>; ++l) result[l] = lanes[l] < kLanes<T> ? a[lanes[l]] : b[lanes[l] - kLanes<T>];
  return result;
#else
  return __builtin_shuffle(a, b, lanes);
#endif
}

// Lanes that change places in each step of a transposition: lane l of two vectors, one after the other, comes from
// here.
template <class T>
struct TransposeSteps {
  using Lane = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  static constexpr int kSize = kLanes<T>, kSteps = kSize == 16 ? 4 : kSize == 8 ? 3 : kSize == 4 ? 2 : 1;
  alignas(kVectorBytes) Lane low[kSteps][kSize], high[kSteps][kSize];

  constexpr TransposeSteps() : low{}, high{} {
    for (int step = 0; step < kSteps; ++step) {
      for (int l = 0; l < kSize; ++l) {
        const bool second = l >> step & 1;
        low[step][l] = second ? kSize + l - (1 << step) : l;
        high[step][l] = second ? kSize + l : l + (1 << step);
      }
    }
  }
};
template <class T>
constexpr TransposeSteps<T> kTransposeSteps{};

// 16 bytes: what every instruction set's vectors are made of.
template <class T>
constexpr int kGroup = 16 / sizeof(T);
template <class T>
struct GroupTypes;
template <>
struct GroupTypes<float> {
  typedef float Type __attribute__((vector_size(16)));
};
template <>
struct GroupTypes<double> {
  typedef double Type __attribute__((vector_size(16)));
};
template <class T>
using Group = typename GroupTypes<T>::Type;

// A vector whose groups of 16 bytes come from group(0), group(1), ... Compilers do not find the instructions that
// insert groups straight from memory.
template <class T, class Load>
inline Vector<T> from_groups(const Load& group) {
#if defined(__AVX512F__)
  __m512 result = _mm512_castps128_ps512((__m128)group(0));
  result = _mm512_insertf32x4(result, (__m128)group(1), 1);
  result = _mm512_insertf32x4(result, (__m128)group(2), 2);
  return (Vector<T>)_mm512_insertf32x4(result, (__m128)group(3), 3);
#elif defined(__AVX__)
  return (Vector<T>)_mm256_insertf128_ps(_mm256_castps128_ps256((__m128)group(0)), (__m128)group(1), 1);
#else
  return group(0);
#endif
}

// Sums over the lanes inside each group of as many vectors as a group has lanes; vector i's become lane i of the
// groups.
template <class T>
inline Vector<T> group_sums(Vector<T> (&vectors)[kGroup<T>]) {
  for (int step = 0; 1 << step < kGroup<T>; ++step) {
    const Bits<T> low = *reinterpret_cast<const Bits<T>*>(kTransposeSteps<T>.low[step]);
    const Bits<T> high = *reinterpret_cast<const Bits<T>*>(kTransposeSteps<T>.high[step]);
#pragma GCC unroll 4
    for (int i = 0; i < kGroup<T>; i += 2 << step) {
      const Vector<T> a = vectors[i], b = vectors[i + (1 << step)];
      vectors[i] = shuffle<T>(a, b, low) + shuffle<T>(a, b, high);
    }
  }
  return vectors[0];
}

// Exchanges rows and lanes of a square of vectors.
template <class T>
inline void transpose_square(Vector<T> (&square)[kLanes<T>]) {
  using Steps = TransposeSteps<T>;
#pragma GCC unroll 4
  for (int step = 0; step < Steps::kSteps; ++step) {
    const Bits<T> low = *reinterpret_cast<const Bits<T>*>(kTransposeSteps<T>.low[step]);
    const Bits<T> high = *reinterpret_cast<const Bits<T>*>(kTransposeSteps<T>.high[step]);
#pragma GCC unroll 16
    for (int i = 0; i < Steps::kSize; ++i) {
      if (i >> step & 1) continue;
      const Vector<T> a = square[i], b = square[i + (1 << step)];
      square[i] = shuffle<T>(a, b, low);
      square[i + (1 << step)] = shuffle<T>(a, b, high);
    }
  }
}

}  // namespace
}  // namespace tagnn_fast::cpu
