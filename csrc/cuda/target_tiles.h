// The walk over tiles of a chunk's rows and of items that scores, top-k, cross-entropy and gradients share.
#pragma once

#include "target_rows.h"

namespace tagnn_fast::cuda {

constexpr int kTileItems = 64;
constexpr int kLaneItems = kTileItems / kWarpLanes;  // a warp has a session's scores of a tile: item lane + 32 i
constexpr int kProductStep = kTileItems + 4;         // rows of products lie in different banks

// How many hidden units of a tile are in shared memory at once.
template <class Mode>
constexpr int kStageUnits = sizeof(typename Mode::Stored) == 8 ? 32 : 128;

// Item vectors: rows of a table, or those that `candidates` names, in rising order. Invalid ones have no score.
template <class Item>
struct ItemTable {
  const Item* vectors;
  const int64_t* candidates;  // null for all rows
  int64_t rows, count;        // of the table; and how many there are to score
  int hidden;

  // Row of item `index`, -1 for none: outside the table, or the same as the one before.
  __device__ int64_t row(int64_t index) const {
    if (index >= count) return -1;
    if (candidates == nullptr) return index;
    const int64_t row = candidates[index];
    if (row < 0 || row >= rows || (index > 0 && candidates[index - 1] == row)) return -1;
    return row;
  }
};

// Softmax over a session's entries for one item: the largest logit, and sums of terms relative to it.
template <class T>
struct DeviceEntrySums {
  T largest, total, weighted;
};

// Adds a segment's entries, whose products with the item are in a column.
template <class T>
__device__ inline DeviceEntrySums<T> add_entries(
    const DeviceEntrySums<T>& before, const Segment& segment, const T* column, const T* multiplicity) {
  const int first = segment.first_row + (segment.has_reference ? 1 : 0);
  DeviceEntrySums<T> sums{segment.has_reference ? T(0) : before.largest, 0, 0};
  for (int e = 0; e < segment.pairs; ++e) sums.largest = larger(column[(first + 2 * e) * kProductStep], sums.largest);
  if (segment.has_reference) {
    sums.total = multiplicity[segment.first_row] * exponential(-sums.largest);
    sums.weighted = sums.total * column[segment.first_row * kProductStep];
  } else {
    const T scale = exponential(before.largest - sums.largest);
    sums.total = before.total * scale;
    sums.weighted = before.weighted * scale;
  }
  for (int e = 0; e < segment.pairs; ++e) {
    const int key = first + 2 * e;
    const T term = multiplicity[key] * exponential(column[key * kProductStep] - sums.largest);
    sums.total += term;
    sums.weighted += term * column[(key + 1) * kProductStep];
  }
  return sums;
}

// A block's shared memory and what is in it. All functions are called by all threads of the block.
template <class Mode, class Item>
class DeviceTileWork {
 public:
  using T = typename Mode::Value;
  using Stored = typename Mode::Stored;
  static constexpr int kStage = kStageUnits<Mode>;
  static constexpr int kUnitStep = kStage + Mode::kPadding;
  static constexpr int kGradientStep = kTileItems + Mode::kPadding;
  static constexpr bool kInPlace = sizeof(T) == sizeof(Stored);  // gradients of products take the products' place

  static constexpr size_t kBytes =
      sizeof(T) * (kTileRows * kProductStep + kTileRows + 3 * kTileItems) + sizeof(Segment) * kTileRows +
      sizeof(Stored) * ((kTileRows + kTileItems) * kUnitStep + (kInPlace ? 0 : kTileRows * kGradientStep));
  static_assert(kBytes <= 99 << 10, "a block of sm_86, sm_89 and sm_120 has 99 KiB");

  Segment* segments;
  int segment_count;

  __device__ DeviceTileWork(const TargetPlan<T>& plan, const Stored* rows, int width, const ItemTable<Item>& table)
      : plan_(plan), all_rows_(rows), width_(width), table_(table) {
    auto* memory = dynamic_shared<unsigned char>();
    const auto take = [&](size_t bytes) {
      memory += bytes;
      return memory - bytes;
    };
    products_ = reinterpret_cast<T*>(take(sizeof(T) * kTileRows * kProductStep));
    multiplicity_ = reinterpret_cast<T*>(take(sizeof(T) * kTileRows));
    state_ = reinterpret_cast<DeviceEntrySums<T>*>(take(sizeof(T) * 3 * kTileItems));
    segments = reinterpret_cast<Segment*>(take(sizeof(Segment) * kTileRows));
    rows_ = reinterpret_cast<Stored*>(take(sizeof(Stored) * kTileRows * kUnitStep));
    items_ = reinterpret_cast<Stored*>(take(sizeof(Stored) * kTileItems * kUnitStep));
    gradients_ = kInPlace ? reinterpret_cast<Stored*>(products_)
                          : reinterpret_cast<Stored*>(take(sizeof(Stored) * kTileRows * kGradientStep));
  }

  // Products of a chunk's rows with the items from `first` on.
  __device__ void multiply_rows_by_items(int chunk, int64_t first) {
    TileSum<Mode, kTileItems> sum;
    for (int stage = 0; stage * kStage < width_; ++stage) {
      __syncthreads();  // nobody reads what is about to be replaced
      load_rows(chunk, stage);
      load_items(first, stage);
      __syncthreads();
      multiply(
          sum, Operand<Stored>{rows_, kUnitStep, 1}, Operand<Stored>{items_, kUnitStep, 1},
          smaller(kStage, width_ - stage * kStage));
    }
    sum.for_each([&](int row, int item, T value) { products_[row * kProductStep + item] = value; });
    __syncthreads();
  }

  // The same, for all chunks of a group but the last `left_out`; leaves the softmax so far in the state.
  __device__ void add_group(int chunk, int chunks, int64_t first, int left_out) {
    for (int piece = 0; piece < chunks - left_out; ++piece) {
      multiply_rows_by_items(chunk + piece, first);
      if (warp() > 0) continue;
      for (int item = lane(); item < kTileItems; item += kWarpLanes) state_[item] = sums(0, item);
    }
    __syncthreads();
  }

  // After multiply_rows_by_items, for a segment and an item of its tile: the softmax over all entries so far.
  __device__ DeviceEntrySums<T> sums(int segment, int item) const {
    return add_entries(state_[item], segments[segment], products_ + item, multiplicity_);
  }

  // Replaces products by their gradients. grad_score(session, item of the tile, score) is the gradient of a score;
  // where `in_group`, the state holds the softmax over the whole group.
  template <class GradScore>
  __device__ void make_gradients(bool in_group, const GradScore& grad_score) {
    for (int s = warp(); s < segment_count; s += warps()) {
      for (int item = lane(); item < kTileItems; item += kWarpLanes) {
        const DeviceEntrySums<T> all = in_group ? state_[item] : sums(s, item);
        write_gradients(segments[s], item, all, grad_score);
      }
    }
    const Segment& last = segments[segment_count - 1];
    const int used = last.first_row + (last.has_reference ? 1 : 0) + 2 * last.pairs;
    for (int i = used * kTileItems + threadIdx.x; i < kTileRows * kTileItems; i += kBlockThreads) {
      gradient(i / kTileItems, i % kTileItems) = Mode::store(T(0));
    }
    __syncthreads();
  }

  // After make_gradients: adds the gradients of the chunk's rows, for units from column * kWidth on.
  template <int kWidth>
  __device__ void add_row_gradients(TileSum<Mode, kWidth>& sum, int64_t first, int column) {
    if (kStage < width_) {
      load_items(first, column * kWidth / kStage);
      __syncthreads();
    }
    multiply(
        sum, Operand<Stored>{gradients_, kGradientStep, 1},
        Operand<Stored>{items_ + column * kWidth % kStage, 1, kUnitStep}, kTileItems);
  }

  // After make_gradients: adds the gradients of the tile's items.
  template <int kWidth>
  __device__ void add_item_gradients(TileSum<Mode, kWidth>& sum, int chunk, int column) {
    if (kStage < width_) {
      load_rows(chunk, column * kWidth / kStage);
      __syncthreads();
    }
    multiply(
        sum, Operand<Stored>{gradients_, 1, kGradientStep},
        Operand<Stored>{rows_ + column * kWidth % kStage, 1, kUnitStep}, kTileRows);
  }

 private:
  template <class GradScore>
  __device__ void write_gradients(
      const Segment& segment, int item, const DeviceEntrySums<T>& all, const GradScore& grad_score) {
    const T inverse = T(1) / all.total, mean = all.weighted * inverse;
    const T grad = grad_score(segment.session, item, mean);
    int row = segment.first_row;
    if (segment.has_reference) {
      const T share = multiplicity_[row] * exponential(-all.largest) * inverse;
      gradient(row++, item) = Mode::store(share * grad);
    }
    for (int e = 0; e < segment.pairs; ++e, row += 2) {
      const T* pair = products_ + row * kProductStep + item;
      const T share = multiplicity_[row] * exponential(pair[0] - all.largest) * inverse;
      const T of_value = share * grad, of_key = of_value * (pair[kProductStep] - mean);
      gradient(row, item) = Mode::store(of_key);
      gradient(row + 1, item) = Mode::store(of_value);
    }
  }

  __device__ Stored& gradient(int row, int item) { return gradients_[row * kGradientStep + item]; }

  __device__ void load_rows(int chunk, int stage) {
    if (chunk == chunk_ && stage == row_stage_) return;
    if (chunk != chunk_) {
      segment_count = plan_.segments[chunk];
      for (int i = threadIdx.x; i < kTileRows; i += kBlockThreads) {
        const int64_t number = int64_t{chunk} * kTileRows + i;
        if (i < segment_count) segments[i] = plan_.segment[number];
        multiplicity_[i] = plan_.multiplicity[number];
      }
    }
    const int begin = stage * kStage, units = smaller(kStage, width_ - begin);
    for (int row = warp(); row < kTileRows; row += warps()) {
      const Stored* from = all_rows_ + (int64_t{chunk} * kTileRows + row) * width_ + begin;
      for (int unit = lane(); unit < kStage; unit += kWarpLanes) {
        rows_[row * kUnitStep + unit] = unit < units ? from[unit] : Stored(0);
      }
    }
    chunk_ = chunk;
    row_stage_ = stage;
  }

  __device__ void load_items(int64_t first, int stage) {
    if (first == first_item_ && stage == item_stage_) return;
    const int begin = stage * kStage, units = smaller(kStage, table_.hidden - begin);
    for (int item = warp(); item < kTileItems; item += warps()) {
      const int64_t row = table_.row(first + item);
      const Item* from = table_.vectors + larger(row, int64_t{0}) * table_.hidden + begin;
      for (int unit = lane(); unit < kStage; unit += kWarpLanes) {
        const bool inside = row >= 0 && unit < units;
        items_[item * kUnitStep + unit] = inside ? Mode::store(to_value(from[unit])) : Stored(0);
      }
    }
    first_item_ = first;
    item_stage_ = stage;
  }

  const TargetPlan<T>& plan_;
  const Stored* all_rows_;
  int width_;
  const ItemTable<Item>& table_;
  T *products_, *multiplicity_;
  DeviceEntrySums<T>* state_;
  Stored *rows_, *items_, *gradients_;
  int chunk_ = -1, row_stage_ = -1, item_stage_ = -1;
  int64_t first_item_ = -1;
};

// Calls visit(segment, session, first item, scores of this lane) for every session of the group that begins with this
// block's chunk and every tile of its part of the items, by all lanes of a warp.
template <class Mode, class Item, class Visit>
__device__ inline void for_scores(
    DeviceTileWork<Mode, Item>& work, int chunk, int group, int64_t begin, int64_t end, const Visit& visit) {
  using T = typename Mode::Value;
  for (int64_t first = begin; first < end; first += kTileItems) {
    if (group > 1) work.add_group(chunk, group, first, 1);
    work.multiply_rows_by_items(chunk + group - 1, first);
    for (int s = warp(); s < work.segment_count; s += warps()) {
      T scores[kLaneItems];
#pragma unroll
      for (int i = 0; i < kLaneItems; ++i) {
        const DeviceEntrySums<T> sums = work.sums(s, lane() + i * kWarpLanes);
        scores[i] = sums.weighted / sums.total;
      }
      visit(s, work.segments[s].session, first, scores);
    }
  }
}

// A launch's division of the items into parts, whole tiles each.
struct ItemParts {
  int64_t parts, size;
  ItemParts(int64_t items, int64_t blocks, int64_t most) {
    constexpr int64_t kBlocksWanted = 2048;  // several for each multiprocessor of the largest GPUs
    const int64_t tiles = (items + kTileItems - 1) / kTileItems;
    const int64_t wanted = kBlocksWanted / larger(blocks, int64_t{1}) + 1;
    const int64_t at_most = larger(int64_t{1}, smaller(smaller(wanted, most), tiles));
    size = larger(int64_t{1}, (tiles + at_most - 1) / at_most) * kTileItems;
    parts = (items + size - 1) / size;
  }
};

// Calls run(Mode()) for the arithmetic asked for.
template <class T, class Run>
void with_mode(int64_t precision, const Run& run) {
  check_value(precision >= 0 && precision <= 2, "precision", "0, 1 or 2", precision);
  if constexpr (std::is_same_v<T, double>) run(Exact<double>());
  else if (precision == 0) run(Exact<float>());
  else if (precision == 1) run(TensorFloat32());
  else run(BFloat16());
}

inline dim3 chunk_grid(int64_t chunks, const ItemParts& parts, unsigned columns = 1) {
  return {static_cast<unsigned>(chunks), static_cast<unsigned>(parts.parts), columns};
}

// Runs a kernel for every chunk of rows and part of the items, or block of units.
template <class Mode, class Item, class Kernel, class... Arguments>
void launch_on_tiles(
    Kernel kernel, dim3 grid, DeviceTargetRows<typename Mode::Value, Mode>& rows, const ItemTable<Item>& table,
    Arguments... arguments) {
  launch(
      kernel, grid, kBlockThreads, DeviceTileWork<Mode, Item>::kBytes, rows.plan(), rows.rows(), rows.width(), table,
      arguments...);
}

template <class Item>
ItemTable<Item> item_table(const TargetAttentionInputs& inputs) {
  return {data<Item>(inputs.table), nullptr, inputs.items, inputs.items, static_cast<int>(inputs.hidden)};
}

}  // namespace tagnn_fast::cuda
