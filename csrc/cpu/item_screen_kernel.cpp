// Products of whole numbers, rows in registers: on AVX-512 four units of 16 items in an instruction (vpdpbusd) for each
// plane of a row, on arm64 of 4 items (sdot); elsewhere pairs of units widened to 16 bits (pmaddwd), all planes of a
// row at once.

#include "item_screen_kernel.h"

#include "vectors.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace tagnn_fast::cpu {
namespace {

// From the largest unit_p (q_p · c) of each item of a block to bounds, and the largest of these.
inline float finish(const ScreenRows& rows, const float* block, const float* products, float* bounds) {
  float largest = -__builtin_inff();
  for (int64_t i = 0; i < kScreenItems; i += kLanes<float>) {
    const Vector<float> bound = load(block + i) * (load(products + i) + rows.margin) +
                                (load(block + kScreenItems + i) * rows.reach + kSmallestSlack);
    store(bounds + i, bound);
  }
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < kScreenItems; ++i) largest = bounds[i] > largest ? bounds[i] : largest;
  return largest;
}

#if defined(__AVX512F__)

#define TAGNN_FAST_BYTE_PRODUCTS __attribute__((target("avx512vnni")))

// Sums may leave int32 until the row's shift is added; as unsigned ones they wrap.
typedef uint32_t Sums __attribute__((vector_size(kVectorBytes)));

// The largest product of V vectors of items with M rows, or `largest`. A byte of an item is unsigned, one of a row
// signed.
template <int M, int V>
TAGNN_FAST_BYTE_PRODUCTS inline void multiply(
    const ScreenRows& rows, int64_t first, const uint8_t* codes, Vector<float>* largest) {
  Sums high[M][V], low[M][V];
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) high[row][v] = low[row][v] = Sums{};
  }
  const int8_t* planes = rows.planes + first * rows.steps * 2 * kScreenUnits;
  for (int64_t step = 0; step < rows.steps; ++step, codes += kScreenStep, planes += M * 2 * kScreenUnits) {
    __m512i items[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) items[v] = _mm512_loadu_si512(codes + v * kVectorBytes);
#pragma GCC unroll 8
    for (int row = 0; row < M; ++row) {
      int32_t units[2];
      __builtin_memcpy(units, planes + row * 2 * kScreenUnits, sizeof units);
      const __m512i of_row[2] = {_mm512_set1_epi32(units[0]), _mm512_set1_epi32(units[1])};
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        high[row][v] = (Sums)_mm512_dpbusd_epi32((__m512i)high[row][v], items[v], of_row[0]);
        low[row][v] = (Sums)_mm512_dpbusd_epi32((__m512i)low[row][v], items[v], of_row[1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const uint32_t shift = rows.shifts[first + row];
      const Sums sums = high[row][v] * uint32_t(kRowPlane) + low[row][v] + shift;
      const Vector<float> products = __builtin_convertvector((Bits<float>)sums, Vector<float>);
      largest[v] = larger(products * rows.units[first + row], largest[v]);
    }
  }
}

#elif defined(__aarch64__)

#define TAGNN_FAST_BYTE_PRODUCTS __attribute__((target("arch=armv8.2-a+dotprod")))

// The largest product of V vectors of items with M rows, or `largest`.
template <int M, int V>
TAGNN_FAST_BYTE_PRODUCTS inline void multiply(
    const ScreenRows& rows, int64_t first, const uint8_t* codes, Vector<float>* largest) {
  int32x4_t high[M][V], low[M][V];
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) high[row][v] = low[row][v] = vdupq_n_s32(0);
  }
  const int8_t* planes = rows.planes + first * rows.steps * 2 * kScreenUnits;
  for (int64_t step = 0; step < rows.steps; ++step, codes += kScreenStep, planes += M * 2 * kScreenUnits) {
    int8x16_t items[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      // As signed bytes, whose zero is 0: the row's shift is then not needed.
      items[v] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes + v * kVectorBytes), vdupq_n_u8(kScreenZero)));
    }
#pragma GCC unroll 8
    for (int row = 0; row < M; ++row) {
      const int8x8_t units = vld1_s8(planes + row * 2 * kScreenUnits);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        high[row][v] = vdotq_lane_s32(high[row][v], items[v], units, 0);
        low[row][v] = vdotq_lane_s32(low[row][v], items[v], units, 1);
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const float32x4_t products = vcvtq_f32_s32(vmlaq_n_s32(low[row][v], high[row][v], kRowPlane));
      largest[v] = larger((Vector<float>)products * rows.units[first + row], largest[v]);
    }
  }
}

#elif defined(__SSE2__)

// Twice as many sums as items: of the first and the second pair of units of each step.
constexpr int64_t kPartItems = 16;  // of a block, whose sums registers hold
using PairSums = int32_t[2 * kPartItems];

#if defined(__AVX2__)
using Integers = __m256i;
inline Integers zero() { return _mm256_setzero_si256(); }
inline Integers four_units(int64_t units) { return _mm256_set1_epi64x(units); }
inline void add_products(Integers (&sums)[2], const uint8_t* codes, Integers units) {
  const __m256i first = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  const __m256i second = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16)));
  sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(first, units));
  sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(second, units));
}
#else
using Integers = __m128i;
inline Integers zero() { return _mm_setzero_si128(); }
inline Integers four_units(int64_t units) { return _mm_set1_epi64x(units); }
inline void add_products(Integers (&sums)[2], const uint8_t* codes, Integers units) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  const __m128i first = _mm_unpacklo_epi8(bytes, _mm_setzero_si128());
  const __m128i second = _mm_unpackhi_epi8(bytes, _mm_setzero_si128());
  sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(first, units));
  sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(second, units));
}
#endif

inline void pair_sums(const int16_t* row, int64_t steps, const uint8_t* codes, PairSums& result) {
  constexpr int kParts = sizeof(PairSums) / (2 * sizeof(Integers));
  Integers sums[kParts][2];
#pragma GCC unroll 8
  for (int part = 0; part < kParts; ++part) sums[part][0] = sums[part][1] = zero();
  for (int64_t step = 0; step < steps; ++step, codes += kScreenStep, row += kScreenUnits) {
    int64_t four;
    __builtin_memcpy(&four, row, sizeof four);
    const Integers units = four_units(four);
#pragma GCC unroll 8
    for (int part = 0; part < kParts; ++part) add_products(sums[part], codes + part * sizeof(Integers), units);
  }
  __builtin_memcpy(result, sums, sizeof sums);
}

#endif

#if defined(TAGNN_FAST_BYTE_PRODUCTS)

constexpr int kBlockVectors = kScreenItems / kLanes<float>;

template <int M = kScreenRowsAtOnce>
TAGNN_FAST_BYTE_PRODUCTS inline void multiply_some(
    int64_t count, const ScreenRows& rows, int64_t first, const uint8_t* codes,
    Vector<float> (&largest)[kBlockVectors]) {
  if constexpr (M > 1) {
    if (count < M) return multiply_some<M - 1>(count, rows, first, codes, largest);
  }
  constexpr int V = M > 3 || kBlockVectors == 2 ? 2 : M > 1 ? 4 : 8;  // so that registers hold the sums
  for (int v = 0; v < kBlockVectors; v += V) multiply<M, V>(rows, first, codes + v * kVectorBytes, largest + v);
}

TAGNN_FAST_BYTE_PRODUCTS void bounds(
    const ScreenRows& rows, const uint8_t* blocks, int64_t count, float* bounds, float* largest) {
  const int64_t at_once = screen_rows_at_once(rows.rows), size = kScreenHead + rows.steps * kScreenStep;
  for (int64_t block = 0; block < count; ++block, blocks += size, bounds += kScreenItems) {
    Vector<float> of_rows[kBlockVectors];
    for (Vector<float>& vector : of_rows) vector = broadcast(-__builtin_inff());
    for (int64_t first = 0; first < rows.rows; first += at_once) {
      const int64_t left = rows.rows - first;
      multiply_some(left < at_once ? left : at_once, rows, first, blocks + kScreenHead, of_rows);
    }
    float products[kScreenItems];
    for (int v = 0; v < kBlockVectors; ++v) store(products + v * kLanes<float>, of_rows[v]);
    largest[block] = finish(rows, reinterpret_cast<const float*>(blocks), products, bounds);
  }
}

#elif defined(__SSE2__)

void bounds(const ScreenRows& rows, const uint8_t* blocks, int64_t count, float* bounds, float* largest) {
  const int64_t size = kScreenHead + rows.steps * kScreenStep;
  for (int64_t block = 0; block < count; ++block, blocks += size, bounds += kScreenItems) {
    float products[kScreenItems];
    for (float& product : products) product = -__builtin_inff();
    for (int64_t row = 0; row < rows.rows; ++row) {
      const float unit = rows.units[row];
      const uint32_t shift = static_cast<uint32_t>(rows.shifts[row]);
      for (int64_t part = 0; part < kScreenItems; part += kPartItems) {
        const uint8_t* codes = blocks + kScreenHead + part * kScreenUnits;
        PairSums pairs;
        pair_sums(rows.whole + row * rows.steps * kScreenUnits, rows.steps, codes, pairs);
        for (int64_t i = 0; i < kPartItems; ++i) {
          const uint32_t sum = static_cast<uint32_t>(pairs[2 * i]) + static_cast<uint32_t>(pairs[2 * i + 1]) + shift;
          const float product = static_cast<float>(static_cast<int32_t>(sum)) * unit;
          products[part + i] = product > products[part + i] ? product : products[part + i];
        }
      }
    }
    largest[block] = finish(rows, reinterpret_cast<const float*>(blocks), products, bounds);
  }
}

#else

constexpr decltype(ItemScreenKernels::bounds) bounds = nullptr;

#endif

}  // namespace

extern const ItemScreenKernels TAGNN_FAST_THIS_TABLE(item_screen){bounds};

}  // namespace tagnn_fast::cpu
