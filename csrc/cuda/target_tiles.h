// The walk over tiles of a chunk's rows and of items that scores, top-k, cross-entropy and gradients share.
#pragma once

#include "target_entries.h"

namespace tagnn_fast::cuda {

// How many hidden units of a tile are in shared memory at most.
template <class Mode>
constexpr int kStageUnits = sizeof(typename Mode::Stored) == 8 ? 32 : 128;

// How many blocks a multiprocessor is to hold at once, as far as registers go.
template <class Mode>
constexpr int kBlocksAtOnce = sizeof(typename Mode::Stored) == 8 ? 1 : 2;

// The narrowest of the compiled widths of gradients that holds `width` units, or one block of them.
template <class Mode>
__host__ __device__ constexpr int compiled_width(int width) {
  return kStageUnits<Mode> == 32 ? 32 : width <= 64 ? 64 : width <= 112 ? 112 : 128;
}

// What walks over the tiles, while the other side of the products stays.
enum class Walk { kItems, kRows };

// A block's shared memory and what is in it. All functions are called by all threads of the block.
template <class Mode, Walk kWalk>
class DeviceTileWork {
 public:
  using T = typename Mode::Value;
  using Stored = typename Mode::Stored;
  static constexpr int kMostUnits = kStageUnits<Mode>;
  static constexpr int kGradientStep = kTileItems + Mode::kPadding;
  static constexpr bool kInPlace = sizeof(T) == sizeof(Stored);  // gradients of products take the products' place
  // The tile after the present one is on its way while there is work on this one, where there is room for both.
  static constexpr bool kAhead = sizeof(Stored) == 2;

  // Of shared memory, for rows of so many units.
  static constexpr size_t bytes(int width) {
    const size_t units = compiled_width<Mode>(width) + Mode::kPadding;
    return sizeof(T) * (kTileRows * kProductStep + 2 * kTileRows + 3 * kTileItems) + 2 * sizeof(Segment) * kTileRows +
           sizeof(Stored) * ((kAhead ? 3 : 2) * kTileItems * units + (kInPlace ? 0 : kTileRows * kGradientStep));
  }
  static_assert(kTileRows == kTileItems, "tiles of rows and of items take turns in shared memory");

  Segment* segments;
  int segment_count;

  __device__ DeviceTileWork(const TargetPlan<T>& plan, const Stored* rows, int width, const TargetItems<Mode>& items)
      : plan_(plan),
        all_rows_(rows),
        width_(width),
        step_(compiled_width<Mode>(width) + Mode::kPadding),
        all_items_(items) {
    auto* memory = dynamic_shared<unsigned char>();
    const auto take = [&](size_t bytes) {
      memory += bytes;
      return memory - bytes;
    };
    products_ = reinterpret_cast<T*>(take(sizeof(T) * kTileRows * kProductStep));
    multiplicity_ = reinterpret_cast<T*>(take(sizeof(T) * kTileRows));
    next_multiplicity_ = reinterpret_cast<T*>(take(sizeof(T) * kTileRows));
    state_ = reinterpret_cast<DeviceEntrySums<T>*>(take(sizeof(T) * 3 * kTileItems));
    segments = reinterpret_cast<Segment*>(take(sizeof(Segment) * kTileRows));
    next_segments_ = reinterpret_cast<Segment*>(take(sizeof(Segment) * kTileRows));
    const size_t tile = sizeof(Stored) * kTileRows * step_;
    rows_ = reinterpret_cast<Stored*>(take(tile));
    items_ = reinterpret_cast<Stored*>(take(tile));
    next_ = kAhead ? reinterpret_cast<Stored*>(take(tile)) : nullptr;
    gradients_ = kInPlace ? reinterpret_cast<Stored*>(products_)
                          : reinterpret_cast<Stored*>(take(sizeof(Stored) * kTileRows * kGradientStep));
  }

  // Products of a chunk's rows with the items from `first` on. `next` is what comes after the side that walks: a first
  // item or a chunk, -1 for nothing.
  __device__ void multiply_rows_by_items(int chunk, int64_t first, int64_t next = -1) {
    TileSum<Mode, kTileItems> sum;
    take_next(chunk, first);
    for (int stage = 0; stage * kMostUnits < width_; ++stage) {
      if (!has_rows(chunk, stage) || !has_items(first, stage)) {
        __syncthreads();  // nobody reads what is about to be replaced
        load_rows(chunk, stage);
        load_items(first, stage);
      }
      wait_for_copies();
      __syncthreads();
      if (kAhead && next >= 0 && width_ <= kMostUnits) copy_next(next);
      multiply(
          sum, Operand<Stored, false>{rows_, step_}, Operand<Stored, false>{items_, step_},
          smaller(kMostUnits, width_ - stage * kMostUnits));
    }
    sum.for_each([&](int row, int item, T value) { products_[row * kProductStep + item] = value; });
    __syncthreads();
  }

  // The same, for all chunks of a group but the last `left_out`; leaves the softmax so far in the state.
  __device__ void add_group(int chunk, int chunks, int64_t first, int left_out) {
    for (int piece = 0; piece < chunks - left_out; ++piece) {
      multiply_rows_by_items(chunk + piece, first);
      if (warp() > 0) continue;
      DeviceEntrySums<T> all[kLaneItems];
      sums(0, all);
#pragma unroll
      for (int i = 0; i < kLaneItems; ++i) state_[lane() * kLaneItems + i] = all[i];
    }
    __syncthreads();
  }

  // After multiply_rows_by_items, for a segment and this lane's items of the tile: the softmax over all entries so far.
  __device__ void sums(int segment, DeviceEntrySums<T> (&result)[kLaneItems]) const {
    if (!segments[segment].has_reference) read_state(result);
    add_entries<Mode>(result, segments[segment], products_ + lane() * kLaneItems, multiplicity_);
  }

  // Replaces products by their gradients. grad_score(session, item of the tile, score) is the gradient of a score;
  // where `in_group`, the state holds the softmax over the whole group.
  template <class GradScore>
  __device__ void make_gradients(bool in_group, const GradScore& grad_score) {
    for (int s = warp(); s < segment_count; s += warps()) {
      DeviceEntrySums<T> all[kLaneItems];
      if (in_group) read_state(all);
      else sums(s, all);
      write_gradients(segments[s], all, grad_score);
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
    if (kMostUnits < width_) {
      load_items(first, column * kWidth / kMostUnits);
      wait_for_copies();
      __syncthreads();
    }
    multiply(
        sum, Operand<Stored, false>{gradients_, kGradientStep},
        Operand<Stored, true>{items_ + column * kWidth % kMostUnits, step_}, kTileItems);
  }

  // After make_gradients: adds the gradients of the tile's items.
  template <int kWidth>
  __device__ void add_item_gradients(TileSum<Mode, kWidth>& sum, int chunk, int column) {
    if (kMostUnits < width_) {
      load_rows(chunk, column * kWidth / kMostUnits);
      wait_for_copies();
      __syncthreads();
    }
    multiply(
        sum, Operand<Stored, true>{gradients_, kGradientStep},
        Operand<Stored, true>{rows_ + column * kWidth % kMostUnits, step_}, kTileRows);
  }

 private:
  __device__ void read_state(DeviceEntrySums<T> (&result)[kLaneItems]) const {
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) result[i] = state_[lane() * kLaneItems + i];
  }

  template <class GradScore>
  __device__ void write_gradients(
      const Segment& segment, const DeviceEntrySums<T> (&all)[kLaneItems], const GradScore& grad_score) {
    T inverse[kLaneItems], mean[kLaneItems], grad[kLaneItems];
#pragma unroll
    for (int i = 0; i < kLaneItems; ++i) {
      inverse[i] = T(1) / all[i].total;
      mean[i] = all[i].weighted * inverse[i];
      grad[i] = grad_score(segment.session, lane() * kLaneItems + i, mean[i]);
    }
    int row = segment.first_row;
    OfLane<Stored> of_key, of_value;
    if (segment.has_reference) {
#pragma unroll
      for (int i = 0; i < kLaneItems; ++i) {
        const T share = multiplicity_[row] * Mode::exponential(-all[i].largest) * inverse[i];
        of_value.items[i] = Mode::store(share * grad[i]);
      }
      of_lane(&gradient(row++, 0)) = of_value;
    }
#pragma unroll 2
    for (int e = 0; e < segment.pairs; ++e, row += 2) {
      const T count = multiplicity_[row];
      const OfLane<T> key = of_lane(products_ + row * kProductStep);
      const OfLane<T> value = of_lane(products_ + (row + 1) * kProductStep);
#pragma unroll
      for (int i = 0; i < kLaneItems; ++i) {
        const T share = count * Mode::exponential(key.items[i] - all[i].largest) * inverse[i];
        of_value.items[i] = Mode::store(share * grad[i]);
        of_key.items[i] = Mode::store(share * grad[i] * (value.items[i] - mean[i]));
      }
      of_lane(&gradient(row, 0)) = of_key;
      of_lane(&gradient(row + 1, 0)) = of_value;
    }
  }

  // This lane's items of a row.
  template <class Value>
  __device__ static OfLane<Value>& of_lane(Value* row) {
    return *reinterpret_cast<OfLane<Value>*>(row + lane() * kLaneItems);
  }

  __device__ Stored& gradient(int row, int item) { return gradients_[row * kGradientStep + item]; }

  __device__ bool has_rows(int chunk, int stage) const { return chunk == chunk_ && stage == row_stage_; }
  __device__ bool has_items(int64_t first, int stage) const { return first == first_item_ && stage == item_stage_; }

  // Makes what was copied ahead the present tile, if it is what is wanted now.
  __device__ void take_next(int chunk, int64_t first) {
    if (!kAhead || next_number_ < 0) return;
    if (kWalk == Walk::kRows && next_number_ == chunk) {
      exchange(rows_, next_);
      exchange(segments, next_segments_);
      exchange(multiplicity_, next_multiplicity_);
      segment_count = next_segment_count_;
      chunk_ = chunk;
      row_stage_ = 0;
      next_number_ = -1;
    } else if (kWalk == Walk::kItems && next_number_ == first) {
      exchange(items_, next_);
      first_item_ = first;
      item_stage_ = 0;
      next_number_ = -1;
    }
  }

  __device__ void copy_next(int64_t number) {
    if (kWalk == Walk::kRows) {
      next_segment_count_ = plan_.segments[number];
      copy_segments(number, next_segments_, next_multiplicity_);
      copy_rows(next_, number, 0);
    } else {
      copy_items(next_, number, 0);
    }
    next_number_ = number;
  }

  __device__ void load_rows(int chunk, int stage) {
    if (has_rows(chunk, stage)) return;
    if (chunk != chunk_) {
      segment_count = plan_.segments[chunk];
      copy_segments(chunk, segments, multiplicity_);
    }
    copy_rows(rows_, chunk, stage);
    chunk_ = chunk;
    row_stage_ = stage;
  }

  __device__ void load_items(int64_t first, int stage) {
    if (has_items(first, stage)) return;
    copy_items(items_, first, stage);
    first_item_ = first;
    item_stage_ = stage;
  }

  // Of a chunk, those that it has not too.
  __device__ void copy_segments(int64_t chunk, Segment* to, T* multiplicity) {
    static_assert(sizeof(Segment) == 16, "a segment is copied in one piece");
    constexpr int kPer = 16 / sizeof(T);
    const int64_t begin = chunk * kTileRows;
    for (int i = threadIdx.x; i < kTileRows; i += kBlockThreads) copy_later(to + i, plan_.segment + begin + i, true);
    for (int i = threadIdx.x * kPer; i < kTileRows; i += kBlockThreads * kPer) {
      copy_later(multiplicity + i, plan_.multiplicity + begin + i, true);
    }
  }

  __device__ void copy_rows(Stored* to, int64_t chunk, int stage) {
    copy_tile(to, all_rows_ + chunk * kTileRows * width_, width_, width_, kTileRows, stage);
  }

  __device__ void copy_items(Stored* to, int64_t first, int stage) {
    const TargetItems<Mode>& items = all_items_;
    const int64_t inside = smaller(items.count - first, int64_t{kTileItems});
    copy_tile(to, items.vectors + first * items.step, items.step, items.units, static_cast<int>(inside), stage);
  }

  // A stage of kTileRows vectors, of which the first `inside` are there, with `units` units each.
  __device__ void copy_tile(Stored* to, const Stored* from, int from_step, int units, int inside, int stage) {
    constexpr int kPer = 16 / sizeof(Stored), kThreads = 16;  // of a vector
    const int begin = stage * kMostUnits, end = smaller(begin + kMostUnits, width_);
#pragma unroll
    for (int pass = 0; pass < kTileRows / (kBlockThreads / kThreads); ++pass) {
      const int row = threadIdx.x / kThreads + pass * (kBlockThreads / kThreads);
      for (int unit = begin + threadIdx.x % kThreads * kPer; unit < end; unit += kThreads * kPer) {
        const bool is_there = row < inside && unit < units;
        const Stored* source = is_there ? from + static_cast<int64_t>(row) * from_step + unit : from;
        copy_later(to + row * step_ + unit - begin, source, is_there);
      }
    }
  }

  const TargetPlan<T>& plan_;
  const Stored* all_rows_;
  int width_, step_;
  const TargetItems<Mode>& all_items_;
  T *products_, *multiplicity_, *next_multiplicity_;
  DeviceEntrySums<T>* state_;
  Segment* next_segments_;
  Stored *rows_, *items_, *next_, *gradients_;
  int chunk_ = -1, row_stage_ = -1, item_stage_ = -1, next_segment_count_ = 0;
  int64_t first_item_ = -1, next_number_ = -1;
};

// Calls visit(segment, session, first item, scores of this lane) for every session of the group that begins with this
// block's chunk and every tile of its part of the items, by all lanes of a warp.
template <class Mode, class Visit>
__device__ inline void for_scores(
    DeviceTileWork<Mode, Walk::kItems>& work, int chunk, int group, int64_t begin, int64_t end, const Visit& visit) {
  using T = typename Mode::Value;
  for (int64_t first = begin; first < end; first += kTileItems) {
    if (group > 1) work.add_group(chunk, group, first, 1);
    const int64_t next = first + kTileItems;
    work.multiply_rows_by_items(chunk + group - 1, first, next < end ? next : -1);
    for (int s = warp(); s < work.segment_count; s += warps()) {
      DeviceEntrySums<T> sums[kLaneItems];
      work.sums(s, sums);
      T scores[kLaneItems];
#pragma unroll
      for (int i = 0; i < kLaneItems; ++i) scores[i] = sums[i].weighted / sums[i].total;
      visit(s, work.segments[s].session, first, scores);
    }
  }
}

// A launch's division of the items into parts, whole tiles each.
struct ItemParts {
  int64_t parts, size;
  ItemParts(int64_t items, int64_t blocks, int64_t most) {
    // Several for each multiprocessor of the largest GPUs, though only a third of the chunks that there is room for may
    // be there.
    constexpr int64_t kBlocksWanted = 3 * 2048;
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
  if constexpr (std::is_same_v<T, double>) run(Exact<double>());
  else if (precision == 0) run(Exact<float>());
  else if (precision == 1) run(TensorFloat32());
  else run(BFloat16());
}

inline dim3 chunk_grid(int64_t chunks, const ItemParts& parts, unsigned columns = 1) {
  return {static_cast<unsigned>(chunks), static_cast<unsigned>(parts.parts), columns};
}

// Runs a kernel for every chunk of rows and part of the items, or block of units.
template <class Mode, class Kernel, class... Arguments>
void launch_on_tiles(
    Kernel kernel, dim3 grid, DeviceTargetRows<typename Mode::Value, Mode>& rows, const TargetItems<Mode>& items,
    Arguments... arguments) {
  using Work = DeviceTileWork<Mode, Walk::kItems>;
  static_assert(Work::bytes(128) <= 99 << 10, "a block of sm_86, sm_89 and sm_120 has 99 KiB");
  launch(
      kernel, grid, kBlockThreads, Work::bytes(rows.width()), rows.plan(), rows.rows(), rows.width(), items,
      arguments...);
}

}  // namespace tagnn_fast::cuda
