// A session's softmax over its entries, for one tile of items.
#pragma once

#include "target_rows.h"

namespace tagnn_fast::cuda {

constexpr int kTileItems = 64;
constexpr int kLaneItems = kTileItems / kWarpLanes;  // a lane has neighbouring items of a tile
constexpr int kProductStep = kTileItems + 4;         // rows of products lie in different banks

// Softmax over a session's entries for one item: the largest logit, and sums of terms relative to it.
template <class T>
struct DeviceEntrySums {
  T largest, total, weighted;
};

// Neighbouring values in shared memory, read and written at once.
template <class T>
struct alignas(kLaneItems * sizeof(T)) OfLane {
  T items[kLaneItems];
};

// Adds a segment's entries to the sums of this lane's items, whose products are in `columns`.
template <class Mode, class T>
__device__ inline void add_entries(
    DeviceEntrySums<T> (&sums)[kLaneItems], const Segment& segment, const T* columns, const T* multiplicity) {
  const auto products = [&](int row) { return *reinterpret_cast<const OfLane<T>*>(columns + row * kProductStep); };
  const int first = segment.first_row + (segment.has_reference ? 1 : 0);
  T largest[kLaneItems];
#pragma unroll
  for (int i = 0; i < kLaneItems; ++i) largest[i] = segment.has_reference ? T(0) : sums[i].largest;
#pragma unroll 2
  for (int e = 0; e < segment.pairs; ++e) {
    const OfLane<T> key = products(first + 2 * e);
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) largest[i] = larger(key.items[i], largest[i]);
  }
  if (segment.has_reference) {
    const OfLane<T> value = products(segment.first_row);
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) {
      const T total = multiplicity[segment.first_row] * Mode::exponential(-largest[i]);
      sums[i] = {largest[i], total, total * value.items[i]};
    }
  } else {
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) {
      const T scale = Mode::exponential(sums[i].largest - largest[i]);
      sums[i] = {largest[i], sums[i].total * scale, sums[i].weighted * scale};
    }
  }
#pragma unroll 2
  for (int e = 0; e < segment.pairs; ++e) {
    const T count = multiplicity[first + 2 * e];
    const OfLane<T> key = products(first + 2 * e), value = products(first + 2 * e + 1);
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) {
      const T term = count * Mode::exponential(key.items[i] - largest[i]);
      sums[i].total += term;
      sums[i].weighted += term * value.items[i];
    }
  }
}

}  // namespace tagnn_fast::cuda
