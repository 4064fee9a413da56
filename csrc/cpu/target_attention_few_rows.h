// Products of the few rows of a single short session with items that are read where they lie: packing them would take
// longer than multiplying.
#pragma once

#include "target_attention_products.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

// For few rows, a vector holds 16 bytes of units of several items, and sums stay apart by unit until the end: items
// need not be transposed. Rows are taken in equal parts of up to kFewAtOnce.
constexpr int kFewAtOnce = kManyRegisters ? 7 : 3;

inline int64_t few_at_once(int64_t rows) {
  const int64_t parts = (rows + kFewAtOnce - 1) / kFewAtOnce;
  return (rows + parts - 1) / parts;
}

template <class T>
inline int64_t steps(int64_t hidden) {
  return (hidden + kGroup<T> - 1) / kGroup<T>;
}

// The last group of units may overlap the one before, with coefficients of zero.
template <class T>
inline int64_t first_unit(int64_t step, int64_t hidden) {
  return smaller(step * kGroup<T>, hidden - kGroup<T>);
}

template <class T>
int64_t coefficients_size(int64_t rows, int64_t hidden) {
  return rows * steps<T>(hidden) * kLanes<T>;
}

// For each part, step and row: the row's units of the step, repeated to fill a vector.
template <class T>
void prepare_few(const TargetBlock<T>& block, int64_t hidden, T* coefficients) {
  const int64_t at_once = few_at_once(block.rows);
  for (int64_t part = 0; part < block.rows; part += at_once) {
    for (int64_t step = 0; step < steps<T>(hidden); ++step) {
      for (int64_t row = part; row < smaller(part + at_once, block.rows); ++row) {
        const int64_t panel = row / kRows * kRows, width = smaller(kRows, block.rows - panel);
        for (int lane = 0; lane < kLanes<T>; ++lane, ++coefficients) {
          const int64_t unit = first_unit<T>(step, hidden) + lane % kGroup<T>;
          const bool counted = unit < step * kGroup<T>;
          *coefficients = counted ? T(0) : block.panels[panel * hidden + unit * width + row - panel];
        }
      }
    }
  }
}

template <class T>
inline Group<T> load_group(const T* from) {
  Group<T> result;
  std::memcpy(&result, from, sizeof result);
  return result;
}
template <class T>
inline Group<T> load_group(const uint16_t* from) {
  Group<T> result;
  for (int l = 0; l < kGroup<T>; ++l) result[l] = from_bfloat16<T>(from[l]);
  return result;
}

constexpr int64_t kFewAhead = 1;  // vectors of items

// Products of M rows with as many items as a vector has lanes.
template <class T, int M, class Item>
inline void multiply_few(
    const T* __restrict__ coefficients, const Item* __restrict__ items, int64_t hidden, T* __restrict__ products) {
  Vector<T> sums[M][kGroup<T>];
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kGroup<T>; ++i) sums[row][i] = Vector<T>{};
  }
  for (int64_t step = 0; step < steps<T>(hidden); ++step, coefficients += M * kLanes<T>) {
    const Item* units = items + first_unit<T>(step, hidden);
    // Later items, in the order that they lie in memory, which the processor's own prefetching goes on from.
    const Item* ahead = items + kFewAhead * kLanes<T> * hidden + step * kGroup<T> * kLanes<T>;
#pragma GCC unroll 4
    for (int i = 0; i < kGroup<T> * kLanes<T>; i += kLine<Item>) __builtin_prefetch(ahead + i);
#pragma GCC unroll 4
    for (int i = 0; i < kGroup<T>; ++i) {
      const Vector<T> right = from_groups<T>([&](int group) __attribute__((always_inline)) {
        return load_group<T>(units + (group * kGroup<T> + i) * hidden);
      });
#pragma GCC unroll 8
      for (int row = 0; row < M; ++row) sums[row][i] += load(coefficients + row * kLanes<T>) * right;
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) store(products + row * kTileItems, group_sums<T>(sums[row]));
}

template <class T, class Item, int M = kFewAtOnce>
inline void multiply_few_rows(int64_t rows, const T* coefficients, const Item* items, int64_t hidden, T* products) {
  if constexpr (M > 1) {
    if (rows < M) return multiply_few_rows<T, Item, M - 1>(rows, coefficients, items, hidden, products);
  }
  multiply_few<T, M>(coefficients, items, hidden, products);
}

}  // namespace
}  // namespace tagnn_fast::cpu
