// Item vectors on their way into a tile, and their gradients on the way out.
#pragma once

#include "target_attention_kernel.h"
#include "vectors.h"

namespace tagnn_fast::cpu {
namespace {

// Items' values in a cache line.
template <class Item>
constexpr int kLine = 64 / sizeof(Item);

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Asks for item vectors of the next tile, in the order that they lie in memory: the processor's own prefetching goes on
// from there, and it alone reads as fast as memory allows.
template <class Item>
inline void fetch_ahead(const Item* const* vectors, int64_t begin, int64_t end, int64_t hidden) {
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t unit = 0; unit < hidden; unit += kLine<Item>) __builtin_prefetch(vectors[i] + unit, 0, 2);
  }
}

// Panels are of kPanel items.
template <class T, int64_t kPanel>
void unpack(const TargetTile<T>& tile, T* const* grads) {
  constexpr int kSize = kLanes<T>;
  for (int64_t item = 0; item < tile.items; item += kSize) {
    const T* from = tile.grad_transposed + item / kPanel * kPanel * tile.hidden + item % kPanel;
    const int64_t items = smaller(kSize, tile.items - item);
    int64_t unit = 0;
    while (tile.hidden >= kSize && unit < tile.hidden) {
      unit = smaller(unit, tile.hidden - kSize);
      Vector<T> square[kSize];
#pragma GCC unroll 16
      for (int i = 0; i < kSize; ++i) square[i] = load(from + (unit + i) * kPanel);
      transpose_square<T>(square);
      if (items == kSize) {
#pragma GCC unroll 16
        for (int i = 0; i < kSize; ++i) store(grads[item + i] + unit, square[i]);
      } else {
        for (int64_t i = 0; i < items; ++i) std::memcpy(grads[item + i] + unit, &square[i], sizeof square[i]);
      }
      unit += kSize;
    }
    for (; unit < tile.hidden; ++unit) {
      for (int64_t i = 0; i < items; ++i) grads[item + i][unit] = from[unit * kPanel + i];
    }
  }
}

}  // namespace
}  // namespace tagnn_fast::cpu
