// The three products of target attention, by one register-blocked loop over differently strided operands.
#pragma once

#include "target_attention_items.h"
#include "target_attention_kernel.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

// The register block: kRows rows by kWidth vectors.
constexpr int kRows = kManyRegisters ? 8 : 4;
constexpr int kWidth = 3;
template <class T>
constexpr int kPanelItems = kWidth * kLanes<T>;

// c (M, V vectors) = Σ_k a_k b_k, or added to c. Row i of a lies i * kStride after the first, step k lies k * a_step
// on.
template <class T, int M, int V, int64_t kStride>
inline void multiply(
    int64_t depth, const T* __restrict__ a, int64_t a_step, const T* __restrict__ b, int64_t b_step, T* __restrict__ c,
    int64_t c_step, bool add) {
  Vector<T> sums[M][V];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sums[i][v] = add ? load(c + i * c_step + v * kLanes<T>) : Vector<T>{};
  }
  for (int64_t k = 0; k < depth; ++k, a += a_step, b += b_step) {
    Vector<T> right[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) right[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const Vector<T> left = broadcast(a[i * kStride]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sums[i][v] += left * right[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(c + i * c_step + v * kLanes<T>, sums[i][v]);
  }
}

// The same for 1 to kRows rows.
template <class T, int V, int64_t kStride, int M = kRows>
inline void multiply_rows(
    int64_t rows, int64_t depth, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c, int64_t c_step,
    bool add) {
  if constexpr (M > 1) {
    if (rows < M) return multiply_rows<T, V, kStride, M - 1>(rows, depth, a, a_step, b, b_step, c, c_step, add);
  }
  multiply<T, M, V, kStride>(depth, a, a_step, b, b_step, c, c_step, add);
}

template <class T>
int64_t padded_hidden(int64_t hidden) {
  return (hidden + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// products (rows, kTileItems) = rows · item vectors.
template <class T>
void multiply_rows_by_items(const TargetBlock<T>& block, const TargetTile<T>& tile) {
  for (int64_t item = 0; item < tile.items; item += kPanelItems<T>) {
    const T* items = tile.transposed + item * tile.hidden;
    for (int64_t row = 0; row < block.rows; row += kRows) {
      const int64_t rows = smaller(kRows, block.rows - row);
      multiply_rows<T, kWidth, 1>(
          rows, tile.hidden, block.panels + row * tile.hidden, rows, items, kPanelItems<T>,
          tile.products + row * kTileItems + item, kTileItems, false);
    }
  }
}

// grad_transposed += gradients of products, transposed, · rows.
template <class T>
void add_item_gradients(const TargetBlock<T>& block, const TargetTile<T>& tile) {
  for (int64_t item = 0; item < tile.items; item += kPanelItems<T>) {
    T* grad = tile.grad_transposed + item * tile.hidden;
    for (int64_t unit = 0; unit < tile.hidden; unit += kRows) {
      multiply_rows<T, kWidth, 1>(
          smaller(kRows, tile.hidden - unit), block.rows, block.row_major + unit, tile.hidden, tile.products + item,
          kTileItems, grad + unit * kPanelItems<T>, kPanelItems<T>, true);
    }
  }
}

// grad_rows += gradients of products · item vectors, for V vectors of units.
template <class T, int V>
void add_row_gradients_of_units(const TargetBlock<T>& block, const TargetTile<T>& tile, T* grad_rows) {
  const int64_t width = padded_hidden<T>(tile.hidden);
  for (int64_t row = 0; row < block.rows; row += kRows) {
    multiply_rows<T, V, kTileItems>(
        smaller(kRows, block.rows - row), tile.items, tile.products + row * kTileItems, 1, tile.padded, width,
        grad_rows + row * width, width, true);
  }
}

template <class T>
void add_row_gradients(const TargetBlock<T>& block, const TargetTile<T>& tile, T* grad_rows) {
  int64_t vectors = padded_hidden<T>(tile.hidden) / kLanes<T>;
  TargetTile<T> part = tile;
  while (vectors > 0) {
    // No single vector is left over: products of one are bound by loads.
    const int64_t width = vectors == 4 ? 2 : smaller(kWidth, vectors);
    if (width == 3) add_row_gradients_of_units<T, 3>(block, part, grad_rows);
    else if (width == 2) add_row_gradients_of_units<T, 2>(block, part, grad_rows);
    else add_row_gradients_of_units<T, 1>(block, part, grad_rows);
    part.padded += width * kLanes<T>;
    grad_rows += width * kLanes<T>;
    vectors -= width;
  }
}

}  // namespace
}  // namespace tagnn_fast::cpu
