// A few rows against as many rows of the weight as 16 bytes hold values of: vectors lie along the inputs, sums over
// their lanes are taken at the end, and the products of one row with those outputs are stored together.

#include "dense_kernel.h"

#include "math.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

constexpr int kRowsAtOnce = kManyRegisters ? 4 : 2;

// The sums of a vector's groups of 16 bytes.
template <class T>
inline Group<T> sum_of_groups(Vector<T> vector) {
  Group<T> groups[kVectorBytes / 16];
  std::memcpy(groups, &vector, sizeof vector);
  Group<T> sum = groups[0];
#pragma GCC unroll 4
  for (int i = 1; i < kVectorBytes / 16; ++i) sum += groups[i];
  return sum;
}

// `from` holds vectors whose last one begins lanes before the end of the inputs, zero in what the one before has.
template <class T, int M>
inline void multiply(const T* from, int64_t width, const T* weight, int64_t inputs, T* out, int64_t outputs) {
  constexpr int kOutputs = kGroup<T>;
  Vector<T> sums[M][kOutputs];
#pragma GCC unroll 4
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kOutputs; ++i) sums[row][i] = Vector<T>{};
  }
  for (int64_t unit = 0; unit < width; unit += kLanes<T>) {
    const int64_t input = unit + kLanes<T> <= inputs ? unit : inputs - kLanes<T>;
    Vector<T> weights[kOutputs];
#pragma GCC unroll 4
    for (int i = 0; i < kOutputs; ++i) weights[i] = load(weight + i * inputs + input);
#pragma GCC unroll 4
    for (int row = 0; row < M; ++row) {
      const Vector<T> values = load(from + row * width + unit);
#pragma GCC unroll 4
      for (int i = 0; i < kOutputs; ++i) sums[row][i] += values * weights[i];
    }
  }
#pragma GCC unroll 4
  for (int row = 0; row < M; ++row) {
    const Group<T> products = sum_of_groups<T>(group_sums<T>(sums[row]));
    std::memcpy(out + row * outputs, &products, sizeof products);
  }
}

template <class T, int M = kRowsAtOnce>
inline void multiply_up_to(
    int64_t rows, const T* from, int64_t width, const T* weight, int64_t inputs, T* out, int64_t outputs) {
  if constexpr (M > 1) {
    if (rows < M) return multiply_up_to<T, M - 1>(rows, from, width, weight, inputs, out, outputs);
  }
  multiply<T, M>(from, width, weight, inputs, out, outputs);
}

template <class T>
void few_rows(const T* from, int64_t rows, const T* weight, int64_t outputs, int64_t inputs, T* scratch, T* out) {
  constexpr int64_t kOutputs = kGroup<T>;
  if (inputs < kLanes<T> || outputs < kOutputs) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < outputs; ++i)
        out[row * outputs + i] = dot(from + row * inputs, weight + i * inputs, inputs);
    }
    return;
  }
  // Vectors that straddle cache lines would be loaded twice.
  scratch += -reinterpret_cast<uintptr_t>(scratch) % kVectorBytes / sizeof(T);
  const int64_t whole = inputs / kLanes<T> * kLanes<T>, rest = inputs - whole;
  const int64_t width = whole + (rest > 0 ? kLanes<T> : 0);
  for (int64_t row = 0; row < rows; ++row) {
    T* to = scratch + row * width;
    std::memcpy(to, from + row * inputs, whole * sizeof(T));
    if (rest == 0) continue;
    fill_zero(to + whole, kLanes<T> - rest);
    std::memcpy(to + width - rest, from + row * inputs + whole, rest * sizeof(T));
  }
  for (int64_t i = 0; i < outputs; i += kOutputs) {
    const int64_t output = i + kOutputs <= outputs ? i : outputs - kOutputs;
    for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
      multiply_up_to<T>(
          rows - row, scratch + row * width, width, weight + output * inputs, inputs, out + row * outputs + output,
          outputs);
    }
  }
}

}  // namespace

extern const DenseKernels TAGNN_FAST_THIS_TABLE(dense){{few_rows<float>}, {few_rows<double>}};

}  // namespace tagnn_fast::cpu
